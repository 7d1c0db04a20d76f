"""Reimplementations of the networks the paper is compared with, one file per architecture.

Each takes normalized images (n, 3, H, W) and returns heatmaps (n, joints, h, w); ``net.py`` adds
the normalization, so that they take the same uint8 crops as ``PoseNet``, and names them.
"""
