"""How well a pose continues a track: OKS whose spread grows with what the track cannot know, and box overlap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.runtime.tracking.boxes import AREA_PER_BOX_AREA
from slimpose.skeleton import Skeleton

_MIRRORED = 0.9
"""What a pose counts for whose left and right must change places to agree."""
_IOU_WEIGHT = 1.0
"""Box overlap counts as much as one sure joint: it decides where hardly a joint is seen, and nowhere else."""


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
    """Return how alike every pose of a (where it is expected) and every pose of b are, 0..1.

    Only the half of the joints (by weight) that agrees best counts: hands and feet go their own
    ways, head and trunk tell who it is. Nor does it count if left and right have changed places, as
    they do in the poses of people seen from the side.

    Args:
        points_a: The expected poses, image pixels.
        scores_a: Their joints' scores; a joint's weight is the product of its scores in both poses.
        boxes_a: Their boxes, which set the scale.
        points_b: The poses compared with them.
        scores_b: Their joints' scores.
        boxes_b: Their boxes.
        skeleton: Gives each joint's sigma and mirror partner.
        position_variance_a: How unsure each expectation is along x and along y, in square pixels (0
            by default): it widens every joint's Gaussian.
    """
    areas = np.maximum(AREA_PER_BOX_AREA * geometry.box_areas(boxes_a), 1)
    spread = (2 * skeleton.sigma_array) ** 2 * areas[:, None]  # (a, joints)
    if position_variance_a is not None:
        spread = spread + position_variance_a[:, None]
    overlap = geometry.box_iou(boxes_a, boxes_b)
    flip = skeleton.flip_indices
    as_it_is, mirrored = (
        _agreement(points_a, scores_a, points_b[:, order], scores_b[:, order], spread, overlap)
        for order in (np.arange(len(flip)), flip)
    )
    return np.maximum(as_it_is, _MIRRORED * mirrored).astype(np.float32)


def _agreement(
    points_a: Float32[np.ndarray, "a joints 2"],
    scores_a: Float32[np.ndarray, "a joints"],
    points_b: Float32[np.ndarray, "b joints 2"],
    scores_b: Float32[np.ndarray, "b joints"],
    spread: Float32[np.ndarray, "a joints"],
    overlap: Float32[np.ndarray, "a b"],
) -> Float32[np.ndarray, "a b"]:
    distance_squared = ((points_a[:, None] - points_b[None]) ** 2).sum(axis=3)
    near = np.exp(-distance_squared / (2 * spread[:, None]))
    weight = scores_a[:, None] * scores_b[None]
    order = np.argsort(-near, axis=2)
    near, weight = (np.take_along_axis(values, order, axis=2) for values in (near, weight))
    before = weight.cumsum(axis=2) - weight
    half = weight.sum(axis=2, keepdims=True) / 2
    weight = np.clip(half - before, 0, weight)  # of the best, as many as make the half
    total = (near * weight).sum(axis=2) + _IOU_WEIGHT * overlap
    return total / (weight.sum(axis=2) + _IOU_WEIGHT)
