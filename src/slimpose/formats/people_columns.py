"""People as columns, for tables with one row per person and frame, such as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

COLUMNS = ("person", "track_id", "score", "box", "keypoints", "covariances")
"""The columns of ``people_columns``, in this order."""


def people_columns(poses: Poses) -> dict[str, np.ndarray]:
    """Return the people of a frame as columns, a row per person.

    ``person`` (n,) is the row in the frame; ``track_id`` (n,) is -1 without tracking; ``score``
    (n,); ``box`` (n, 4) x1, y1, x2, y2; ``keypoints`` (n, joints, 3) x, y, score; ``covariances``
    (n, joints, 3) variance of x, of y, and covariance, in square pixels. All in image pixels.

    >>> from slimpose.skeleton import COCO17
    >>> people_columns(Poses.empty(COCO17))["keypoints"].shape
    (0, 17, 3)
    """
    covariances = poses.covariances_image
    return {
        "person": np.arange(len(poses), dtype=np.int32),
        "track_id": poses.ids,
        "score": poses.person_scores,
        "box": poses.boxes_image,
        "keypoints": np.concatenate([poses.points_image, poses.scores[..., None]], axis=2),
        "covariances": np.stack(
            [covariances[..., 0, 0], covariances[..., 1, 1], covariances[..., 0, 1]], axis=2
        ),
    }


def poses_from_columns(columns: Mapping[str, np.ndarray], skeleton: Skeleton) -> Poses:
    """Return the poses that ``people_columns`` made the columns from.

    Raises:
        ValueError: If the columns do not fit the skeleton.
    """
    xx, yy, xy = np.moveaxis(columns["covariances"], 2, 0)
    return Poses(
        points_image=columns["keypoints"][..., :2],
        scores=columns["keypoints"][..., 2],
        covariances_image=np.stack([xx, xy, xy, yy], axis=2).reshape(*xx.shape, 2, 2),
        boxes_image=columns["box"],
        person_scores=columns["score"],
        ids=columns["track_id"].astype(np.int64),
        skeleton=skeleton,
    )
