"""Graphs that end in heatmaps: their chips and compilers have no operators for DARK, so it is done here, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Heatmaps

OUTPUTS = ("points", "scores", "covariances", "heatmaps")
INPUTS = (("crops", "tensor(uint8)"),)
"""What such a graph is said to take and give, with the decoding."""


def decode_outputs(
    heatmaps: Heatmaps, metadata: Mapping[str, str], outputs: Sequence[str]
) -> list[np.ndarray]:
    """Return the named outputs of heatmaps (n, J, h, w): what the ONNX file of the same net answers."""
    if tuple(outputs) == ("heatmaps",):
        return [heatmaps]
    stride = int(metadata["stride"])
    found = heatmap.decode(heatmaps)
    answers = {
        "points": geometry.heatmap_to_crop(found.points_heatmap, stride).astype(np.float32),
        "scores": found.scores,
        "covariances": (found.covariances_heatmap * stride**2).astype(np.float32),
        "heatmaps": heatmaps,
    }
    return [answers[name] for name in outputs]


def input_shape(metadata: Mapping[str, str], path: object) -> tuple[int, int, int]:
    """Return height, width and stride of the input.

    Raises:
        ValueError: If the metadata does not say them, or says a task other than pose.
    """
    try:
        height, width, stride = (int(metadata[key]) for key in ("height", "width", "stride"))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: its slimpose metadata is broken: {error}; expected a file of slimpose export"
        ) from error
    if metadata.get("task") != "pose" or min(height, width, stride) < 1:
        raise ValueError(
            f"{path}: its slimpose metadata says task {metadata.get('task')!r}, {height}x{width} pixels, "
            f"stride {stride}; expected a pose net, as slimpose export writes it"
        )
    return height, width, stride
