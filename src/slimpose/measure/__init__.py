"""Benchmarks, the planner and the synthetic video they run on."""
