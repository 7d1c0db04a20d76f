"""Shared by all adapters: model description, input checks, normalization and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD, Covariances, Crops, Points, Scores, Size
from slimpose.runtime.session import ModelInfo
from slimpose.skeleton import Skeleton
from slimpose.tasks import Task

OUTPUTS = ("points", "scores", "covariances")
_MEAN, _STD = (
    (255 * np.array(values)).astype(np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD)
)


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


def normalize_imagenet(crops: Crops) -> Float32[np.ndarray, "n 3 height width"]:
    """Return RGB crops channels first, normalized by ImageNet's mean and standard deviation."""
    return np.ascontiguousarray(((crops - _MEAN) / _STD).transpose(0, 3, 1, 2))


def image_input(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, Size]:
    """Return the name and the size of a model's only input.

    Raises:
        ValueError: If it is not one float input (n, 3, height, width) of fixed height and width.
    """
    inputs = session.get_inputs()
    shape = inputs[0].shape
    fits = (
        len(inputs) == 1
        and len(shape) == 4
        and shape[1] == 3
        and all(isinstance(side, int) for side in shape[2:])
    )
    if not fits or inputs[0].type != "tensor(float)":
        raise ValueError(
            f"{path} takes {[(tensor.name, tensor.type, tensor.shape) for tensor in inputs]}; "
            "expected one float input (n, 3, height, width) (exported with free height and width?)"
        )
    return inputs[0].name, Size(shape[2], shape[3])


def select_outputs(
    info: ModelInfo,
    points_crop: Points,
    scores: Scores,
    outputs: Sequence[str],
    *,
    covariances: Covariances | None = None,
) -> list[np.ndarray]:
    """Return the named outputs, of ``OUTPUTS``.

    A model that gives no covariances gets those of a point anywhere in a square of ``info.stride``
    pixels.
    """
    if covariances is None:
        spread = np.eye(2, dtype=np.float32) * (info.stride**2 / 12)
        covariances = np.broadcast_to(spread, (*points_crop.shape[:2], 2, 2)).astype(np.float32)
    results = {"points": points_crop, "scores": scores, "covariances": covariances}
    return [results[name] for name in outputs]
