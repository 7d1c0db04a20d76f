"""Decoders of networks that get the crop of one person: outputs to points, scores, covariances.

Each takes the outputs in the file's order and what is known of the file, and returns arrays by the
names of ``Session.outputs``. Points are in crop pixels, pixel centers at integers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Size
from slimpose.runtime.foreign.facts import Arrays, Facts

MIN_SPREAD_PX2 = 1 / 12
"""Variance of a point anywhere within a pixel."""


def maps_shape(shape: Sequence[int], size: Size) -> tuple[int, int, int]:
    """Return joints, height and width of heatmaps (n, joints, h, w) or (n, h, w, joints)."""
    _, first, second, third = shape
    if not are_cells(second, third, size) and are_cells(first, second, size):
        return third, first, second
    return first, second, third


def are_cells(rows: int, columns: int, size: Size) -> bool:
    """Return whether so many cells fill an input of a size, each of a whole number of pixels.

    >>> are_cells(64, 48, Size(256, 192))
    True
    """
    stride = size.height // max(rows, 1)
    return (rows * stride, columns * stride) == size and min(rows, columns) >= 5


def heatmaps(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """Decode heatmaps with DARK; see ``geometry.CellAlignment``."""
    maps = channels_first(outputs[0], facts)
    decoded = heatmap.decode(maps)
    step_px, start_px = cell_steps(facts, (maps.shape[2], maps.shape[3]))
    points = decoded.points_heatmap * step_px + np.float32(start_px)
    return {
        "points": points.astype(np.float32),
        "scores": decoded.scores,
        "covariances": decoded.covariances_heatmap * np.outer(step_px, step_px).astype(np.float32),
    }


def cell_steps(facts: Facts, cells: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the distance (2,) of cells along x and y, and where the first lies, in crop pixels.

    ``cells`` are the maps' height and width.
    """
    step_px = np.full(2, facts.stride, np.float32)
    if facts.alignment == "corners":
        crop = np.array([facts.size.width, facts.size.height], np.float32)
        step_px = (crop - 1) / (np.array(cells[::-1], np.float32) - 1)
    return step_px, (facts.stride - 1) / 2 if facts.alignment == "centers" else 0.0


def aligned(maps: np.ndarray, facts: Facts) -> np.ndarray:
    """Return heatmaps resampled to this project's cells, for teachers and the flip test."""
    maps = channels_first(maps, facts)
    rows, columns = (
        geometry.alignment_matrix(side, facts.alignment, stride=facts.stride)
        for side in maps.shape[2:]
    )
    return rows @ maps @ columns.T


def channels_first(maps: np.ndarray, facts: Facts) -> np.ndarray:
    """Return heatmaps as (n, joints, height, width), as they are or with joints last."""
    is_last = maps_shape(maps.shape, facts.size)[1] != maps.shape[2]
    return np.ascontiguousarray(maps.transpose(0, 3, 1, 2) if is_last else maps, np.float32)


def simcc(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """Decode SimCC: x and y (n, joints, bins) are classified, with bin 0 on pixel 0.

    Outputs are in this order unless their bins or names show y and x (``simcc_axes``). A joint's
    score is the lower of its two maxima.

    Source:
        Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose
        Estimation", ECCV 2022.
    """
    axes = simcc_axes(facts.names, [array.shape[2] for array in outputs], facts.size)
    along_x, along_y = (np.asarray(outputs[axis], np.float32) for axis in axes)
    bins_per_px = np.array(
        [along_x.shape[2] / facts.size.width, along_y.shape[2] / facts.size.height], np.float32
    )
    bins = np.stack([along_x.argmax(axis=2), along_y.argmax(axis=2)], axis=2)
    scores = np.minimum(along_x.max(axis=2), along_y.max(axis=2)).clip(0, 1)
    return point_outputs((bins / bins_per_px).astype(np.float32), scores, MIN_SPREAD_PX2)


def simcc_axes(names: Sequence[str], bins: Sequence[int], size: Size) -> tuple[int, int]:
    """Return which of a SimCC network's outputs are x and y.

    The number of bins of each shows it, and for a square input their names.

    >>> simcc_axes(("a", "b"), (512, 384), Size(256, 192))
    (1, 0)
    >>> simcc_axes(("y_simcc", "x_simcc"), (512, 512), Size(256, 256))
    (1, 0)
    """
    fits = [bins[x] * size.height == bins[1 - x] * size.width for x in (0, 1)]
    if fits[0] != fits[1]:
        return (0, 1) if fits[0] else (1, 0)
    words = [set(re.split("[^a-z]+", name.lower())) for name in names]
    return (1, 0) if "y" in words[0] and "x" in words[1] else (0, 1)


def movenet(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """Decode MoveNet SinglePose: y, x, score (n, 1, 17, 3), shares of the crop from its border.

    Source:
        https://www.tensorflow.org/hub/tutorials/movenet
    """
    found = next(array for array in outputs if array.shape[-2:] == (17, 3))
    found = np.asarray(found, np.float32).reshape(-1, 17, 3)
    size = np.array([facts.size.width, facts.size.height], np.float32)
    return point_outputs(found[..., 1::-1] * size - np.float32(0.5), found[..., 2], 16 / 12)


def point_outputs(points: np.ndarray, scores: np.ndarray, variance_px2: float) -> Arrays:
    """Return the outputs of a network that gives no heatmaps; its covariances are all the same."""
    spread = np.eye(2, dtype=np.float32) * np.float32(variance_px2)
    return {
        "points": points,
        "scores": np.ascontiguousarray(scores, np.float32),
        "covariances": np.broadcast_to(spread, (*points.shape[:2], 2, 2)).copy(),
    }
