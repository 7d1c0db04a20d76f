"""DARK decoding in NumPy, for graphs that end in heatmaps because their runtime cannot decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Heatmaps

OUTPUTS = ("points", "scores", "covariances", "heatmaps")
INPUTS = (("crops", "tensor(uint8)"),)
"""Inputs and outputs that such a graph reports, the decoding included."""


def decode_outputs(
    heatmaps: Heatmaps, metadata: Mapping[str, str], outputs: Sequence[str]
) -> list[np.ndarray]:
    """Return the outputs that the ONNX file of the same network has, from heatmaps (n, J, h, w)."""
    if tuple(outputs) == ("heatmaps",):
        return [heatmaps]
    stride = int(metadata["stride"])
    decoded = heatmap.decode(heatmaps)
    arrays = {
        "points": geometry.heatmap_to_crop(decoded.points_heatmap, stride).astype(np.float32),
        "scores": decoded.scores,
        "covariances": (decoded.covariances_heatmap * stride**2).astype(np.float32),
        "heatmaps": heatmaps,
    }
    return [arrays[name] for name in outputs]


def input_shape(metadata: Mapping[str, str], path: Path) -> tuple[int, int, int]:
    """Return height, width and stride of the input.

    Raises:
        ValueError: If the metadata lacks them, or is for a task other than pose.
    """
    try:
        height, width, stride = (int(metadata[key]) for key in ("height", "width", "stride"))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: its slimpose metadata is broken: {error}; expected a file of slimpose export"
        ) from error
    if metadata.get("task") != "pose" or min(height, width, stride) < 1:
        raise ValueError(
            f"{path}: its slimpose metadata says task {metadata.get('task')!r}, {height}x{width} "
            f"pixels, stride {stride}; expected a pose model, as slimpose export writes it"
        )
    return height, width, stride
