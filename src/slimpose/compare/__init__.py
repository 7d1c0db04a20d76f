"""Comparison of pose systems: published weights and results, own measurements, the report."""
