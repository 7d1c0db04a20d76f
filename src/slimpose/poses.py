"""``Poses``: the result for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Boxes, Covariances, Ids, PersonScores, Points, Scores
from slimpose.skeleton import Skeleton

MIN_JOINT_SCORE = 0.2
"""Joints that score less do not count in the person's score (the usual rescoring rule)."""

NOT_TRACKED = -1
"""The id of a person without a track."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """The n people found in one image, in image pixels.

    >>> from slimpose.skeleton import COCO17
    >>> poses = Poses.empty(COCO17)
    >>> len(poses), poses.points_image.shape
    (0, (0, 17, 2))

    Attributes:
        points_image: (n, joints, 2) x, y of each keypoint.
        scores: (n, joints) 0..1.
        covariances_image: (n, joints, 2, 2) square pixels: the width and direction of each
            heatmap's peak.
        boxes_image: (n, 4) x1, y1, x2, y2: the boxes the poses were estimated in.
        person_scores: (n,) box score times the mean joint score.
        ids: (n,) track numbers; -1 where people are not tracked.
        skeleton: The joints' names and order.
    """

    points_image: Points
    scores: Scores
    covariances_image: Covariances
    boxes_image: Boxes
    person_scores: PersonScores
    ids: Ids
    skeleton: Skeleton

    def __post_init__(self) -> None:
        if self.points_image.ndim != 3:
            raise ValueError(
                f"points_image has shape {self.points_image.shape}; expected (people, joints, 2) "
                "(a single person still needs the first axis)"
            )
        n, joints = len(self.points_image), len(self.skeleton.joints)
        expected = {
            "points_image": (n, joints, 2),
            "scores": (n, joints),
            "covariances_image": (n, joints, 2, 2),
            "boxes_image": (n, 4),
            "person_scores": (n,),
            "ids": (n,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}; "
                    f"expected {shape} for {n} people and {joints} joints"
                )
        if self.ids.dtype != np.int64:
            raise ValueError(f"ids are {self.ids.dtype}; expected int64")

    def __len__(self) -> int:
        return len(self.points_image)

    @classmethod
    def empty(cls, skeleton: Skeleton) -> Poses:
        """Return the result of an image without people."""
        joints = len(skeleton.joints)
        return cls(
            points_image=np.zeros((0, joints, 2), np.float32),
            scores=np.zeros((0, joints), np.float32),
            covariances_image=np.zeros((0, joints, 2, 2), np.float32),
            boxes_image=np.zeros((0, 4), np.float32),
            person_scores=np.zeros(0, np.float32),
            ids=np.zeros(0, np.int64),
            skeleton=skeleton,
        )


def person_scores(joint_scores: Scores, box_scores: PersonScores) -> PersonScores:
    """Return each person's score: box score times the mean of joint scores over MIN_JOINT_SCORE."""
    counted = joint_scores > MIN_JOINT_SCORE
    mean = (joint_scores * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return (box_scores * mean).astype(np.float32)
