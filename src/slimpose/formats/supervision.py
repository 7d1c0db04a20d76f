"""Conversion to the ``supervision`` package: annotators, zones, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slimpose.poses import Poses

if TYPE_CHECKING:
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports] (not among our dependencies)


def to_keypoints(poses: Poses) -> KeyPoints:
    """Convert poses to ``supervision.KeyPoints``: xy, class 0 (person), joint scores.

    ``data`` has ``track_id`` (n,), -1 without tracking, ``person_score`` (n,) and ``box`` (n, 4),
    x1, y1, x2, y2.

    Raises:
        ModuleNotFoundError: If supervision is not installed.
    """
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports]

    # The third argument is the joint scores; its name differs between versions of supervision.
    return KeyPoints(
        poses.points_image.copy(),
        np.zeros(len(poses), np.int64),
        poses.scores.copy(),
        data={
            "track_id": poses.ids.copy(),
            "person_score": poses.person_scores.copy(),
            "box": poses.boxes_image.copy(),
        },
    )
