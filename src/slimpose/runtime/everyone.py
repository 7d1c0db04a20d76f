"""Everyone who may be in a frame, for hiding people: also those too uncertain to be returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, Image
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.tiles import TiledDetector
from slimpose.skeleton import Skeleton

EVERYONE_SCORE = 0.1
"""Boxes that score more count, if that is less than what the detector's threshold asks for."""
HOLD_S = 0.5
"""Whoever is not found again in the same place is taken to be there for this long."""
_SAME_PLACE_IOU = 0.3
_SAME_PERSON_IOU = 0.5


def crowd_poses(detector: Detector, image: Image, boxes_image: Boxes, skeleton: Skeleton) -> Poses:
    """Return the people in a crowd that the detector finds in tiles only; their keypoints score 0.

    For images in which the detector's output was full. They are many and small, so they do not go
    through the pose model; heads are hidden by the boxes.

    Args:
        detector: The detector.
        image: RGB uint8.
        boxes_image: (n, 4) of the people that are found already.
        skeleton: Of the result.
    """
    found, _ = TiledDetector(detector.session)(image, score_threshold=EVERYONE_SCORE)
    overlap = geometry.box_iou(found, boxes_image).max(axis=1, initial=0.0)
    boxes = found[overlap < _SAME_PERSON_IOU]
    n, joints = len(boxes), len(skeleton.joints)
    middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return Poses(
        points_image=np.repeat(middles, joints, axis=1).astype(np.float32),
        scores=np.zeros((n, joints), np.float32),
        covariances_image=np.zeros((n, joints, 2, 2), np.float32),
        boxes_image=boxes,
        person_scores=np.zeros(n, np.float32),
        ids=np.full(n, NOT_TRACKED, np.int64),
        skeleton=skeleton,
    )


class Everyone:
    """Collects the people of one camera's frames, and keeps them in place for a moment.

    Detectors miss a person in single frames. Tracks bridge that, where there is one; a person who
    was found only once or twice, or faintly, has none.
    """

    def __init__(self) -> None:
        self._missing: list[tuple[float, Poses]] = []  # when they were found, and where

    def update(
        self, timestamp_s: float, poses: Poses, *, faint: Sequence[Poses], expected: Poses
    ) -> Poses:
        """Return everyone in a frame.

        Args:
            timestamp_s: Time of the frame.
            poses: The people of the frame.
            faint: Others that may be people.
            expected: Where tracks that have no pose in this frame expect theirs.

        Returns:
            All of them, and those held in place; person scores are over 0 for ``poses`` only.
        """
        found = np.maximum(poses.person_scores, np.finfo(np.float32).tiny)
        poses = dataclasses.replace(poses, person_scores=found)
        observed = _concatenate([poses, *map(_without_scores, faint)])
        boxes = np.concatenate([observed.boxes_image, expected.boxes_image])
        still_missing = []
        for found_s, people in self._missing:
            overlap = geometry.box_iou(people.boxes_image, boxes).max(axis=1, initial=0.0)
            held = people[overlap < _SAME_PLACE_IOU]
            if len(held) and timestamp_s - found_s <= HOLD_S:
                still_missing.append((found_s, _without_scores(held)))
        self._missing = [*still_missing, (timestamp_s, observed)]
        return _concatenate(
            [observed, _without_scores(expected), *(people for _, people in still_missing)]
        )


def _concatenate(parts: Sequence[Poses]) -> Poses:
    """Return the people of several results of one skeleton in one."""
    return Poses(
        points_image=np.concatenate([one.points_image for one in parts]),
        scores=np.concatenate([one.scores for one in parts]),
        covariances_image=np.concatenate([one.covariances_image for one in parts]),
        boxes_image=np.concatenate([one.boxes_image for one in parts]),
        person_scores=np.concatenate([one.person_scores for one in parts]),
        ids=np.concatenate([one.ids for one in parts]),
        skeleton=parts[0].skeleton,
    )


def _without_scores(poses: Poses) -> Poses:
    return dataclasses.replace(poses, person_scores=np.zeros(len(poses), np.float32))
