"""Object keypoint similarity (OKS), COCO's measure of how similar two poses are, and OKS NMS."""

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
    """Return the OKS, 0..1, of every pair of poses from a and b, at the scale of the people in a.

    Args:
        points_a: The reference poses (ground truth, or the previous frame's), image pixels.
        points_b: The poses to compare with them.
        areas_a: Area of each reference person in square pixels.
        skeleton: Supplies each joint's sigma.
        counted_a: Which reference joints count (default all); a person with none has OKS 0.

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
    """Suppress duplicate poses (NMS by OKS) and return the indices to keep, best first.

    A pose is dropped if its OKS with a better kept pose exceeds ``threshold``.
    """
    similarity = oks_matrix(points, points, areas, skeleton)
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if all(similarity[better, candidate] <= threshold for better in kept):
            kept.append(int(candidate))
    return kept
