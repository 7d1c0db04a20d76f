"""Boxes drawn to poses, and the likeness of poses that may be one person seen twice."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.arrays import Boxes, PersonScores, Points, Scores
from slimpose.skeleton import Skeleton

VISIBLE_SCORE = 0.3
"""Joints that score less say nothing of where a person ends."""
_EXTENT_MARGIN = 0.12
"""Of the joints' extent, on every side: the median of people in COCO with 15 and more labeled joints."""
AREA_PER_BOX_AREA = 0.51
"""A person's area, which OKS goes by, over their box's: the mean of COCO's people."""
_SHRINK_S = 1.0
"""A box that is too large shrinks to 1/e of what is too much in this time."""


def joint_extents(points_image: Points, scores: Scores) -> Boxes:
    """Return the boxes of the joints over SHOWN_SCORE with their margin; of all joints, where under three are."""
    shown = scores >= VISIBLE_SCORE
    shown[shown.sum(axis=1) < 3] = True
    low = np.where(shown[:, :, None], points_image, np.inf).min(axis=1)
    high = np.where(shown[:, :, None], points_image, -np.inf).max(axis=1)
    extent = high - low
    margin = _EXTENT_MARGIN * np.maximum(extent, 0.2 * extent.max(axis=1, keepdims=True))
    return np.concatenate([low - margin, high + margin], axis=1).astype(np.float32)


def fitted_box(
    box_image: Float32[np.ndarray, "4"],
    points_image: Float32[np.ndarray, "joints 2"],
    scores: Float32[np.ndarray, " joints"],
    *,
    elapsed_s: float,
) -> Float32[np.ndarray, "4"]:
    """Return the box drawn to a pose: sides that cut it off move out at once, sides too far out come in slowly.

    So a box does not jump when a limb is hidden for a moment. With under three shown joints it
    stays.
    """
    if (scores >= VISIBLE_SCORE).sum() < 3:
        return box_image
    goal = joint_extents(points_image[None], scores[None])[0]
    drawn = box_image + (1 - math.exp(-elapsed_s / _SHRINK_S)) * (goal - box_image)
    low, high = np.minimum(goal[:2], drawn[:2]), np.maximum(goal[2:], drawn[2:])
    return np.concatenate([low, high]).astype(np.float32)


def person_size_px(box_image: Float32[np.ndarray, "4"]) -> float:
    """Return the person's size: the root of the box's area."""
    return math.sqrt(max(1.0, float(geometry.box_areas(box_image[None])[0])))


def pose_quality(scores: Scores) -> PersonScores:
    """Return the mean of each person's joint scores, weighted with themselves: hidden joints hardly count."""
    return ((scores**2).sum(axis=1) / np.maximum(scores.sum(axis=1), 1e-6)).astype(np.float32)


def pairwise_oks(
    points_image: Points, scores: Scores, skeleton: Skeleton
) -> Float32[np.ndarray, "n n"]:
    """Return how sure it is that two poses are one person: OKS over the half of the joints that agree best.

    The head and shoulders of two people are never at one place, but the legs of one person seen
    twice often are not: where one of the boxes cuts them off. Left and right may have changed
    places. Of the joints that both show, as many count as are half of what the poorer pose shows,
    three at least. Measured in the size of the smaller pose.
    """
    shown = scores >= VISIBLE_SCORE
    areas = AREA_PER_BOX_AREA * np.maximum(geometry.box_areas(joint_extents(points_image, scores)), 1)
    spread = np.minimum(areas[:, None], areas[None])[:, :, None] * (2 * skeleton.sigma_array) ** 2
    poorer = np.minimum(shown.sum(axis=1)[:, None], shown.sum(axis=1)[None])
    half = np.maximum(3, (poorer + 1) // 2)
    counted = np.arange(points_image.shape[1]) < half[:, :, None]

    def agreement(order: np.ndarray) -> np.ndarray:
        distance_squared = ((points_image[:, None] - points_image[None, :, order]) ** 2).sum(axis=3)
        near = np.exp(-distance_squared / (2 * spread)) * (shown[:, None] & shown[None, :, order])
        best_first = -np.sort(-near, axis=2)
        return (best_first * counted).sum(axis=2) / half

    as_it_is, mirrored = (
        agreement(np.arange(points_image.shape[1])),
        agreement(skeleton.flip_indices),
    )
    return np.maximum(as_it_is, mirrored).astype(np.float32)
