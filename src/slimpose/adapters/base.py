"""What every adapter does alike: its description, the check of what it is given, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from slimpose.arrays import Points, Scores, Size
from slimpose.runtime.session import ModelInfo
from slimpose.skeleton import Skeleton
from slimpose.tasks import Task

OUTPUTS = ("points", "scores", "covariances")


def model_info(
    path: Path, *, size: Size, stride: int, skeleton: Skeleton, origin: str, task: Task = "pose"
) -> ModelInfo:
    """Return what is known of somebody else's pose model.

    Its cost is not: ``gmac`` is nan and ``params`` 0. ``slimpose.export.hardware.onnx_cost`` counts
    them.
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
        score_threshold=0.0,
        nms_iou_threshold=1.0,
    )


def check_batch(info: ModelInfo, batch: np.ndarray) -> None:
    """Raise ValueError unless the batch is uint8 (n, height, width, 3) of the model's size."""
    if batch.ndim != 4 or batch.shape[1:] != (*info.size, 3) or batch.dtype != np.uint8:
        raise ValueError(
            f"batch is {batch.dtype} {batch.shape}; {info.name} expects uint8 "
            f"(n, {info.size.height}, {info.size.width}, 3)"
        )


def check_outputs(info: ModelInfo, outputs: Sequence[str], *, known: Sequence[str]) -> None:
    """Raise ValueError unless the model has all of these outputs."""
    unknown = [name for name in outputs if name not in known]
    if unknown:
        raise ValueError(
            f"{info.name} has no output {', '.join(unknown)}; expected of {', '.join(known)}"
        )


def select_outputs(
    info: ModelInfo,
    points_crop: Points,
    scores: Scores,
    outputs: Sequence[str],
    *,
    covariances: Float32[np.ndarray, "n joints 2 2"] | None = None,
) -> list[np.ndarray]:
    """Return the named outputs.

    Where the model does not say how sure it is of a point, the covariance is that of a point
    anywhere in a square of ``info.stride`` pixels.

    Raises:
        ValueError: If there is no such output.
    """
    check_outputs(info, outputs, known=OUTPUTS)
    if covariances is None:
        spread = np.eye(2, dtype=np.float32) * (info.stride**2 / 12)
        covariances = np.broadcast_to(spread, (*points_crop.shape[:2], 2, 2)).astype(np.float32)
    found = {"points": points_crop, "scores": scores, "covariances": covariances}
    return [found[name] for name in outputs]
