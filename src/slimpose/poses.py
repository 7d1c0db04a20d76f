"""``Poses``: what was found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Boxes, Covariances, Ids, PersonScores, Points, Scores
from slimpose.skeleton import Skeleton

JOINT_SCORE_FLOOR = 0.2
"""Joints under it do not count for the person's score (the field's rescoring rule)."""


NOT_TRACKED = -1
"""The id of a person whom no tracker has numbered."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """The n people of one image, in image pixels.

    Attributes:
        points_image: (n, joints, 2) x, y.
        scores: (n, joints) 0..1.
        covariances_image: (n, joints, 2, 2) square pixels: how sharp each heatmap's peak was.
        boxes_image: (n, 4) x1, y1, x2, y2 that were looked at.
        person_scores: (n,) box score times the mean joint score.
        ids: (n,) track numbers; -1 where people are not tracked.
        skeleton: Names the joints.
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
                "(one person alone still needs the first axis)"
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
                    f"{name} has shape {getattr(self, name).shape}; expected {shape} for {n} people and {joints} joints"
                )
        if self.ids.dtype != np.int64:
            raise ValueError(f"ids are {self.ids.dtype}; expected int64")

    def __len__(self) -> int:
        return len(self.points_image)

    @classmethod
    def none(cls, skeleton: Skeleton) -> Poses:
        """Return the result for an image without people."""
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
    """Return box score times the mean score of the joints over JOINT_SCORE_FLOOR."""
    counted = joint_scores > JOINT_SCORE_FLOOR
    mean = (joint_scores * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return (box_scores * mean).astype(np.float32)
