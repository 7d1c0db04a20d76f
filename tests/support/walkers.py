"""Synthetic poses of walking people, for tests of the tracker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slimpose.poses import NOT_TRACKED, Poses, person_scores
from slimpose.skeleton import COCO17

HEIGHT_PX = 100.0
_FIGURE = np.array(
    [
        (0.0, -0.44), (0.02, -0.46), (-0.02, -0.46), (0.05, -0.45), (-0.05, -0.45),  # face
        (0.12, -0.32), (-0.12, -0.32), (0.16, -0.15), (-0.16, -0.15),  # shoulders, elbows
        (0.17, 0.0), (-0.17, 0.0), (0.08, 0.02), (-0.08, 0.02),  # wrists, hips
        (0.09, 0.24), (-0.09, 0.24), (0.09, 0.45), (-0.09, 0.45),  # knees, ankles
    ],
    np.float32,
)  # fmt: skip
"""A standing person of height 1 around the center of the box."""
HALF_BOX = np.array([0.21, 0.5], np.float32)


def person(x: float, y: float, *, height_px: float = HEIGHT_PX) -> np.ndarray:
    """Return the joints (17, 2) of a person with this center."""
    return (_FIGURE * height_px + np.array([x, y], np.float32)).astype(np.float32)


def box(x: float, y: float, *, height_px: float = HEIGHT_PX) -> np.ndarray:
    """Return the box of that person."""
    center = np.array([x, y], np.float32)
    return np.concatenate([center - HALF_BOX * height_px, center + HALF_BOX * height_px])


def poses_of(
    centers: Sequence[tuple[float, float]],
    *,
    score: float = 0.8,
    height_px: float = HEIGHT_PX,
    spread_px: float = 4.5,
    noise_px: float = 0.0,
    rng: np.random.Generator | None = None,
    ids: Sequence[int] | None = None,
) -> Poses:
    """Return people with these centers; a spread of 4.5 px is usual for this height."""
    n = len(centers)
    points = np.array([person(x, y, height_px=height_px) for x, y in centers], np.float32)
    points = points.reshape(n, 17, 2)
    if rng is not None:
        points = (points + noise_px * rng.standard_normal(points.shape)).astype(np.float32)
    boxes = np.array([box(x, y, height_px=height_px) for x, y in centers], np.float32)
    scores = np.full((n, 17), score, np.float32)
    return Poses(
        points_image=points,
        scores=scores,
        covariances_image=np.tile(spread_px**2 * np.eye(2, dtype=np.float32), (n, 17, 1, 1)),
        boxes_image=boxes.reshape(n, 4),
        person_scores=person_scores(scores, np.full(n, 0.9, np.float32)),
        ids=np.full(n, NOT_TRACKED, np.int64) if ids is None else np.array(ids, np.int64),
        skeleton=COCO17,
    )
