"""slimpose: real-time multi-person 2D pose estimation for small computers."""

__version__ = "0.1.0"
