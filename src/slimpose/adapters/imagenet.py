"""Crops as nets of the PyTorch world take them: RGB, channels first, ImageNet's mean and deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32

from slimpose.arrays import Crops, Size

_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)


def normalize_imagenet(crops: Crops) -> Float32[np.ndarray, "n 3 height width"]:
    """Return crops (n, height, width, 3) uint8 as (n, 3, height, width) of mean 0 and deviation 1 over ImageNet."""
    return np.ascontiguousarray(((crops - _MEAN) / _DEVIATION).transpose(0, 3, 1, 2))


def image_input(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, Size]:
    """Return the name and the size of a model's only input.

    Raises:
        ValueError: If it is not one float input (n, 3, height, width) of fixed height and width.
    """
    given = session.get_inputs()
    shape = given[0].shape
    fits = (
        len(given) == 1
        and len(shape) == 4
        and shape[1] == 3
        and all(isinstance(n, int) for n in shape[2:])
    )
    if not fits or given[0].type != "tensor(float)":
        raise ValueError(
            f"{path} takes {[(put.name, put.type, put.shape) for put in given]}; expected one float input "
            "(n, 3, height, width) (exported with free height and width?)"
        )
    return given[0].name, Size(shape[2], shape[3])
