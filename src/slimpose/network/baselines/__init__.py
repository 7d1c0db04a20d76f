"""The systems the paper is compared with, rebuilt from their descriptions: one small file an architecture.

Each takes normalized images (n, 3, H, W) and gives heatmaps (n, joints, h, w); ``net.py`` puts the
normalization in front, so that they take the same uint8 crops as ``PoseNet``, and names them.
"""
