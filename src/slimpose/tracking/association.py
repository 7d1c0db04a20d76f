"""Similarity of poses and tracks: OKS with the position uncertainty of the track, plus box IoU."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.skeleton import Skeleton
from slimpose.tracking.boxes import AREA_PER_BOX_AREA

_MIRRORED_FACTOR = 0.9
"""Factor on the similarity of a pose that matches only with left and right swapped."""
_IOU_WEIGHT = 1.0
"""Box IoU counts as much as one joint of score 1: it decides only where hardly a joint is visible.
"""


def pose_similarity(
    points_a: Float32[np.ndarray, "a joints 2"],
    scores_a: Float32[np.ndarray, "a joints"],
    boxes_a: Float32[np.ndarray, "a 4"],
    points_b: Float32[np.ndarray, "b joints 2"],
    scores_b: Float32[np.ndarray, "b joints"],
    boxes_b: Float32[np.ndarray, "b 4"],
    skeleton: Skeleton,
    *,
    position_variance_a: Float32[np.ndarray, " a"] | None = None,
) -> Float32[np.ndarray, "a b"]:
    """Return the similarity 0..1 of every expected pose a and every observed pose b.

    Only the half of the joints (by weight) that agrees best counts: hands and feet move on their
    own, head and trunk identify the person. Swapped left and right cost little, since poses of
    people viewed from the side often have them swapped.

    Args:
        points_a: The expected poses, image pixels.
        scores_a: Their joint scores; a joint's weight is the product of its scores in both poses.
        boxes_a: Their boxes, which set the scale.
        points_b: The observed poses, image pixels.
        scores_b: Their joint scores.
        boxes_b: Their boxes.
        skeleton: Gives each joint's sigma and mirror partner.
        position_variance_a: Variance of each expected position along x and along y, in square
            pixels (default 0); it is added to the variance of every joint's Gaussian.
    """
    areas = np.maximum(AREA_PER_BOX_AREA * geometry.box_areas(boxes_a), 1)
    variance = (2 * skeleton.sigma_array) ** 2 * areas[:, None]  # (a, joints)
    if position_variance_a is not None:
        variance = variance + position_variance_a[:, None]
    iou = geometry.box_iou(boxes_a, boxes_b)

    def best_half_similarity(order: np.ndarray) -> np.ndarray:
        distance_squared = ((points_a[:, None] - points_b[None, :, order]) ** 2).sum(axis=3)
        similarity = np.exp(-distance_squared / (2 * variance[:, None]))
        weight = scores_a[:, None] * scores_b[None, :, order]
        best_first = np.argsort(-similarity, axis=2)
        similarity = np.take_along_axis(similarity, best_first, axis=2)
        weight = np.take_along_axis(weight, best_first, axis=2)
        before = weight.cumsum(axis=2) - weight
        half = weight.sum(axis=2, keepdims=True) / 2
        weight = np.clip(half - before, 0, weight)  # of the best joints, up to half of the weight
        total = (similarity * weight).sum(axis=2) + _IOU_WEIGHT * iou
        return total / (weight.sum(axis=2) + _IOU_WEIGHT)

    direct = best_half_similarity(np.arange(points_a.shape[1]))
    mirrored = best_half_similarity(skeleton.flip_indices)
    return np.maximum(direct, _MIRRORED_FACTOR * mirrored).astype(np.float32)
