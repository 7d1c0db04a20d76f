"""Keypoints for the annotators of the ``supervision`` package.

For its zones, counters and box annotators there is ``Poses.to_supervision``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slimpose.poses import Poses

if TYPE_CHECKING:
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports] (not among our dependencies)


def to_keypoints(poses: Poses) -> KeyPoints:
    """Convert poses to ``supervision.KeyPoints`` (0.31 or newer), of class 0 (person).

    ``keypoint_confidence`` (n, joints) are the joints' scores, ``detection_confidence`` (n,) the
    people's. ``data`` has ``track_id`` (n,), -1 without tracking, ``person_score`` (n,), ``box``
    (n, 4), x1, y1, x2, y2, and ``covariance`` (n, joints, 2, 2).

    Raises:
        ModuleNotFoundError: If supervision is not installed.
    """
    from supervision import KeyPoints  # pyright: ignore[reportMissingImports]

    return KeyPoints(
        xy=poses.points_image.copy(),
        class_id=np.zeros(len(poses), np.int64),
        keypoint_confidence=poses.scores.copy(),
        detection_confidence=poses.person_scores.copy(),
        data={
            "track_id": poses.ids.copy(),
            "person_score": poses.person_scores.copy(),
            "box": poses.boxes_image.copy(),
            "covariance": poses.covariances_image.copy(),
        },
    )
