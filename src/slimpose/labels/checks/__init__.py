"""Checks of labels: structure, images, geometry, and against a model."""
