"""slimpose: real-time multi-person 2D pose estimation for small computers.

>>> import slimpose                                # doctest: +SKIP
>>> poses = slimpose.load()("street.jpg")          # doctest: +SKIP
>>> poses.points_image.shape                       # doctest: +SKIP
(3, 17, 2)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from slimpose.poses import Poses
from slimpose.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    from slimpose.draw import draw_poses
    from slimpose.media.frame import Frame
    from slimpose.media.images import ImageError
    from slimpose.runtime.follower import Follower
    from slimpose.runtime.pipeline import Pipeline, load

__all__ = [
    "COCO17",
    "Follower",
    "Frame",
    "ImageError",
    "Pipeline",
    "Poses",
    "Skeleton",
    "__version__",
    "draw_poses",
    "load",
]
__version__ = "0.1.0"

_LAZY = {
    "Follower": "slimpose.runtime.follower",
    "Frame": "slimpose.media.frame",
    "ImageError": "slimpose.media.images",
    "Pipeline": "slimpose.runtime.pipeline",
    "draw_poses": "slimpose.draw",
    "load": "slimpose.runtime.pipeline",
}
"""Imported on first access, so that ``import slimpose`` does not import OpenCV and ONNX Runtime."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'slimpose' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
