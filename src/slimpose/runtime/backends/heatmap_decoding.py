"""DARK decoding in NumPy, for graphs that end in heatmaps because their runtime cannot decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slimpose import fields, geometry, heatmap
from slimpose.arrays import Heatmaps
from slimpose.fields import Fields
from slimpose.runtime.backends.base import MAX_INPUT_PX

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
    entry = Fields(metadata, f"{path}: metadata")
    height, width, stride = (
        entry.integer(key, low=1, high=MAX_INPUT_PX) for key in ("height", "width", "stride")
    )
    if entry.get("task") != "pose":
        raise fields.fail(entry.what("task"), entry.get("task"), "'pose', as for every such file")
    return height, width, stride
