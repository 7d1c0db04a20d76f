"""Tracking of people: association of poses with tracks, motion, appearance and smoothing."""
