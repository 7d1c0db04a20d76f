"""The description of a third-party model."""

from __future__ import annotations

from pathlib import Path

from slimpose.arrays import Size
from slimpose.runtime.session import ModelInfo
from slimpose.skeleton import Skeleton
from slimpose.tasks import Task


def model_info(
    path: Path, *, size: Size, stride: int, skeleton: Skeleton, origin: str, task: Task = "pose"
) -> ModelInfo:
    """Return the description of a third-party pose model.

    Its cost is unknown: ``gmac`` is nan and ``params`` 0. ``slimpose.export.hardware.onnx_cost``
    counts them.
    """
    return ModelInfo(
        name=path.stem,
        task=task,
        size=size,
        stride=stride,
        precision="as published",
        gmac=float("nan"),
        params=0,
        card={"start": origin},
        skeleton=skeleton,
        fit="letterbox",
        score_threshold=0.0,
        nms_iou_threshold=1.0,
    )
