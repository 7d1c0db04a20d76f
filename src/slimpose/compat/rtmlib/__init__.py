"""rtmlib's interface: a program written for it runs with its import line changed.

    from slimpose.compat.rtmlib import Body, PoseTracker, draw_skeleton

Images are BGR as OpenCV reads them; results are keypoints (n, joints, 2) and scores (n, joints).
What differs:

- Nothing is downloaded: without a file the shipped models run, and ``mode`` "lightweight" means the
  INT8 ones; "balanced" and "performance" are the same. A file given as ``pose`` or ``det`` may be
  one of rtmlib's, downloaded and unpacked before; where its kind or size is known only from the
  arguments, it is remembered in a TOML file next to it.
- Where no person is found there are none, (0, joints, 2), instead of one in the whole image.
- ``PoseTracker`` follows people by their poses and smooths the keypoints.

Written from rtmlib 0.0.16's documentation and signatures.
"""

from slimpose.compat.rtmlib.drawing import draw_bbox, draw_skeleton
from slimpose.compat.rtmlib.solutions import Body, BodyWithFeet, Custom, PoseTracker, Wholebody

__all__ = [
    "Body",
    "BodyWithFeet",
    "Custom",
    "PoseTracker",
    "Wholebody",
    "draw_bbox",
    "draw_skeleton",
]
