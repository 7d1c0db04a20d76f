"""Boxes fitted to poses, and OKS between poses of one frame to find duplicates."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.arrays import Boxes, PersonScores, Points, Scores
from slimpose.messages import DataWarning, quoted
from slimpose.skeleton import Skeleton

VISIBLE_SCORE = 0.3
"""Joints with lower scores do not count for the extent of a person."""
_EXTENT_MARGIN = 0.12
"""Margin on every side as a fraction of the joints' extent.

It is the median of the people in COCO with at least 15 labeled joints.
"""
AREA_PER_BOX_AREA = 0.51
"""A person's area, as OKS uses it, over the area of the box: the mean of COCO's people."""
DEFAULT_SIGMA = 0.07
"""Sigma of every joint in tracking where a skeleton has none: the median of COCO's."""
_SHRINK_TIME_S = 1.0
"""Time constant with which a box that is too large shrinks."""


def with_default_sigmas(skeleton: Skeleton) -> Skeleton:
    """Return a skeleton that has sigmas; a DataWarning is issued where it had none."""
    if skeleton.sigmas:
        return skeleton
    warnings.warn(
        f"skeleton {quoted(skeleton.name)} has no sigmas (how precisely each joint is found); "
        f"tracking takes {DEFAULT_SIGMA} for all joints; expected sigmas in --skeleton FILE",
        DataWarning,
        stacklevel=3,
    )
    return dataclasses.replace(skeleton, sigmas=(DEFAULT_SIGMA,) * len(skeleton.joints))


def joint_extents(points_image: Points, scores: Scores) -> Boxes:
    """Return boxes around the joints over VISIBLE_SCORE, with a margin.

    Where fewer than three joints are visible, all joints count.
    """
    visible = scores >= VISIBLE_SCORE
    visible[visible.sum(axis=1) < 3] = True
    low = np.where(visible[:, :, None], points_image, np.inf).min(axis=1)
    high = np.where(visible[:, :, None], points_image, -np.inf).max(axis=1)
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
    """Return a box updated to a pose: it grows at once and shrinks slowly.

    So a box does not jump when a limb is hidden for a moment. With fewer than three visible joints
    it does not change.
    """
    if (scores >= VISIBLE_SCORE).sum() < 3:
        return box_image
    goal = joint_extents(points_image[None], scores[None])[0]
    moved = box_image + (1 - math.exp(-elapsed_s / _SHRINK_TIME_S)) * (goal - box_image)
    low, high = np.minimum(goal[:2], moved[:2]), np.maximum(goal[2:], moved[2:])
    return np.concatenate([low, high]).astype(np.float32)


def person_size_px(box_image: Float32[np.ndarray, "4"]) -> float:
    """Return the size of the person in the box: the square root of the box area, at least 1."""
    return math.sqrt(max(1.0, float(geometry.box_areas(box_image[None])[0])))


def pose_quality(scores: Scores) -> PersonScores:
    """Return the mean joint score of each person, weighted by the scores.

    Hidden joints hardly count.
    """
    return ((scores**2).sum(axis=1) / np.maximum(scores.sum(axis=1), 1e-6)).astype(np.float32)


def pairwise_oks(
    points_image: Points, scores: Scores, skeleton: Skeleton
) -> Float32[np.ndarray, "n n"]:
    """Return the OKS of every two poses of a frame over the best half of their joints.

    A high value means that both are of one person. The heads and shoulders of two people are never
    at the same place, but the legs in two poses of one person often differ, where a box does not
    contain them. Left and right may be swapped. Only joints visible in both poses count: the best
    ones, half as many as the pose with fewer joints has, at least three (of skeletons with fewer
    joints all). The scale is the area of the smaller pose.
    """
    visible = scores >= VISIBLE_SCORE
    extents = joint_extents(points_image, scores)
    areas = AREA_PER_BOX_AREA * np.maximum(geometry.box_areas(extents), 1)
    variance = np.minimum(areas[:, None], areas[None])[:, :, None] * (2 * skeleton.sigma_array) ** 2
    fewest = np.minimum(visible.sum(axis=1)[:, None], visible.sum(axis=1)[None])
    half = np.maximum(min(3, points_image.shape[1]), (fewest + 1) // 2)
    counted = np.arange(points_image.shape[1]) < half[:, :, None]

    def best_half_oks(order: np.ndarray) -> np.ndarray:
        distance_squared = ((points_image[:, None] - points_image[None, :, order]) ** 2).sum(axis=3)
        similarity = np.exp(-distance_squared / (2 * variance))
        similarity *= visible[:, None] & visible[None, :, order]
        best_first = -np.sort(-similarity, axis=2)
        return (best_first * counted).sum(axis=2) / half

    direct = best_half_oks(np.arange(points_image.shape[1]))
    return np.maximum(direct, best_half_oks(skeleton.flip_indices)).astype(np.float32)
