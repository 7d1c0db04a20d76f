"""Poses for the ``supervision`` package: its annotators, zones and counters (pip install supervision)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slimpose.poses import Poses

if TYPE_CHECKING:
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports] (not among our dependencies)


def to_keypoints(poses: Poses) -> KeyPoints:
    """Return the poses as ``supervision.KeyPoints``: xy, class 0 (person), joint scores.

    ``data`` holds ``track_id`` (n,), -1 where nobody numbers people, ``person_score`` (n,) and
    ``box`` (n, 4), x1, y1, x2, y2.

    Raises:
        ModuleNotFoundError: If supervision is not installed.
    """
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports]

    # The third parameter is the joints' scores; its name changed between versions.
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
