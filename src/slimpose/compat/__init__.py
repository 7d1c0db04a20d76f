"""Interfaces of other pose estimation packages, for programs written for them."""
