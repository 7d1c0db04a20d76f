"""Object keypoint similarity: how alike two poses are, 0..1; COCO's measure."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32

from slimpose.arrays import PersonScores, Points
from slimpose.skeleton import Skeleton


def oks_matrix(
    points_a: Float32[np.ndarray, "a joints 2"],
    points_b: Float32[np.ndarray, "b joints 2"],
    areas_a: Float32[np.ndarray, " a"],
    skeleton: Skeleton,
    *,
    counted_a: Bool[np.ndarray, "a joints"] | None = None,
) -> Float32[np.ndarray, "a b"]:
    """Return the similarity of every pose of a to every pose of b, measured in the size of a's people.

    Args:
        points_a: The reference (ground truth, or last frame's) poses, image pixels.
        points_b: The poses compared with them.
        areas_a: Area of each reference person in square pixels.
        skeleton: Gives each joint's sigma.
        counted_a: Which reference joints count (default all); a person with none has similarity 0.

    Source:
        Lin et al., COCO keypoint evaluation: exp(-d^2 / (2 s^2 k^2)) with k = 2 sigma, s^2 = area.
    """
    distance_squared = ((points_a[:, None] - points_b[None]) ** 2).sum(axis=3)
    spread = 2 * (2 * skeleton.sigma_array) ** 2
    exponent = distance_squared / (areas_a[:, None, None] * spread + np.spacing(1))
    if counted_a is None:
        return np.exp(-exponent).mean(axis=2).astype(np.float32)
    counted = counted_a[:, None, :]
    total = np.maximum(counted.sum(axis=2), 1)
    return ((np.exp(-exponent) * counted).sum(axis=2) / total).astype(np.float32)


def oks_nms(
    points: Points,
    scores: PersonScores,
    areas: PersonScores,
    skeleton: Skeleton,
    *,
    threshold: float,
) -> list[int]:
    """Return the poses to keep, best first: none is more like a better kept one than ``threshold``."""
    similarity = oks_matrix(points, points, areas, skeleton)
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if all(similarity[better, candidate] <= threshold for better in kept):
            kept.append(int(candidate))
    return kept
