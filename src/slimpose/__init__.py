"""slimpose: real-time multi-person 2D pose estimation for small computers.

>>> import slimpose                                # doctest: +SKIP
>>> poses = slimpose.load()("street.jpg")          # doctest: +SKIP
>>> poses.points_image.shape                       # doctest: +SKIP
(3, 17, 2)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimpose.poses import Poses
from slimpose.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    from slimpose.runtime.images import ImageError
    from slimpose.runtime.pipeline import Pipeline

__all__ = ["COCO17", "ImageError", "Pipeline", "Poses", "Skeleton", "__version__", "load"]
__version__ = "0.1.0"


def load(
    model: str | Path = "mnv2",
    detector: str | Path | None = "detector",
    threads: int = 0,
    score_threshold: float | None = None,
) -> Pipeline:
    """Open the models and return what turns an image into the poses of everyone in it.

    Args:
        model: A shipped pose model's name, or an ONNX file of ``slimpose export``.
        detector: The same for the person detector; None if boxes will always be given.
        threads: CPU threads; 0 leaves the choice to ONNX Runtime.
        score_threshold: Least score 0..1 of a person's box; the detector's own by default.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is unknown, a file is not such a model, or an option is out of range.
    """
    from slimpose.runtime import pipeline

    return pipeline.load(model, detector, threads, score_threshold)


def __getattr__(name: str) -> Any:
    """Import what needs OpenCV and ONNX Runtime when first asked for: ``import slimpose`` stays light."""
    if name == "ImageError":
        from slimpose.runtime.images import ImageError

        return ImageError
    if name == "Pipeline":
        from slimpose.runtime.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'slimpose' has no attribute {name!r}")
