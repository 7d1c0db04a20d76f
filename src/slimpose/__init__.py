"""slimpose: real-time multi-person 2D pose estimation for small computers.

>>> import slimpose                                # doctest: +SKIP
>>> poses = slimpose.load()("street.jpg")          # doctest: +SKIP
>>> poses.points_image.shape                       # doctest: +SKIP
(3, 17, 2)
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimpose.draw import draw_poses
    from slimpose.media.frame import Frame
    from slimpose.media.images import ImageError
    from slimpose.poses import Poses
    from slimpose.runtime.follower import Follower
    from slimpose.runtime.image_lists import ImagesError
    from slimpose.runtime.pipeline import Pipeline, load
    from slimpose.skeleton import COCO17, Skeleton

__all__ = [
    "COCO17",
    "Follower",
    "Frame",
    "ImageError",
    "ImagesError",
    "Pipeline",
    "Poses",
    "Skeleton",
    "__version__",
    "draw_poses",
    "load",
]
__version__ = "0.1.0"

_LAZY = {
    "COCO17": "slimpose.skeleton",
    "Follower": "slimpose.runtime.follower",
    "Frame": "slimpose.media.frame",
    "ImageError": "slimpose.media.images",
    "ImagesError": "slimpose.runtime.image_lists",
    "Pipeline": "slimpose.runtime.pipeline",
    "Poses": "slimpose.poses",
    "Skeleton": "slimpose.skeleton",
    "draw_poses": "slimpose.draw",
    "load": "slimpose.runtime.pipeline",
}
"""Imported on first access: it is fast, and the command can report a package that is missing."""
_RENAMED = {"CameraFrame": "Frame"}
"""Public names of before 2026-11-29, which still work."""


def _turn_off_telemetry() -> None:
    """Keep dependencies from sending and writing what the user did not request.

    ONNX Runtime (1.29 and newer) writes a device id into the cache folder and sends events to its
    maker. OpenVINO sends an event and writes a client id when it is imported, through
    ``openvino_telemetry``, which it can do without. ``huggingface_hub`` is imported by timm.
    Ray sends statistics of use.
    """
    is_off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    for name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    version = getattr(sys.modules.get("onnxruntime"), "__version__", "0.0").split(".")
    if not is_off and (int(version[0]), int(version[1])) >= (1, 29):
        warnings.warn(
            "onnxruntime was imported before slimpose and has started its telemetry; "
            "import slimpose first, or set ORT_DISABLE_TELEMETRY=1",
            stacklevel=3,
        )


_turn_off_telemetry()
logging.getLogger("slimpose").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(
            f"slimpose.{name} is now slimpose.{_RENAMED[name]}", DeprecationWarning, stacklevel=2
        )
        name = _RENAMED[name]
    if name not in _LAZY:
        raise AttributeError(f"module 'slimpose' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
