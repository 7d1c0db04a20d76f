"""Tracking of objects that are not people: few joints, no sigmas, colors between their joints."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from slimpose.messages import DataWarning
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.models import check_detector_of
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tracking.appearance import BINS, color_histograms, histogram_similarity
from slimpose.tracking.boxes import DEFAULT_SIGMA
from slimpose.tracking.tracker import Tracker

STICK = Skeleton(name="stick", joints=("a", "b"), limbs=(("a", "b"),), sigmas=(0.07, 0.07))
SPIDER = Skeleton(
    name="spider", joints=("body", "left_leg", "right_leg", "tail"),
    limbs=(("body", "left_leg"), ("body", "right_leg"), ("body", "tail")),
    sigmas=(0.05,) * 4, trunk=("body",),
)  # fmt: skip


def poses_of(skeleton: Skeleton, points: Sequence[Sequence[tuple[float, float]]]) -> Poses:
    array = np.array(points, np.float32)
    low, high = array.min(axis=1) - 10, array.max(axis=1) + 10
    count, joints = array.shape[:2]
    return Poses(
        points_image=array,
        scores=np.full((count, joints), 0.9, np.float32),
        covariances_image=np.tile(np.eye(2, dtype=np.float32), (count, joints, 1, 1)),
        boxes_image=np.concatenate([low, high], axis=1),
        person_scores=np.full(count, 0.9, np.float32),
        ids=np.full(count, NOT_TRACKED, np.int64),
        skeleton=skeleton,
    )


def test_duplicates_of_an_object_with_two_joints_are_dropped() -> None:
    """At least three joints had to agree, so no two poses of two joints were duplicates."""
    tracker = Tracker(STICK)
    twice = [[(100, 100), (100, 180)], [(101, 100), (100, 181)], [(300, 100), (300, 180)]]
    found = [tracker.update(poses_of(STICK, twice), frame / 15) for frame in range(5)]
    assert found[-1].ids.tolist() == [1, 2]


def test_object_with_one_joint_is_followed() -> None:
    dot = Skeleton(name="dot", joints=("dot",), sigmas=(0.05,))
    tracker = Tracker(dot)
    ids = [
        tracker.update(poses_of(dot, [[(100 + 3 * i, 90)]]), i / 15).ids.tolist() for i in range(8)
    ]
    assert ids[-1] == [1]


def test_skeleton_without_sigmas_is_tracked_with_a_warning() -> None:
    unknown = Skeleton(name="stick", joints=STICK.joints)
    with pytest.warns(DataWarning, match="'stick' has no sigmas .* takes 0.07 for all joints"):
        tracker = Tracker(unknown)
    assert tracker.skeleton.sigmas == (DEFAULT_SIGMA,) * 2
    poses = poses_of(unknown, [[(9, 9), (9, 90)]])
    found = [tracker.update(poses, frame / 15) for frame in range(5)]
    assert found[-1].ids.tolist() == [1]


def spider_image(color: tuple[int, int, int], poses: Poses) -> np.ndarray:
    """A spider of one color on the other half's background."""
    image = np.full((200, 200, 3), 90, np.uint8)
    body, *ends = poses.points_image[0]
    for end in ends:
        cv2.line(image, body.astype(int).tolist(), end.astype(int).tolist(), color, 5)
    return image


def test_colors_are_compared_along_the_limbs_of_other_objects() -> None:
    """Thin legs fill a small part of the box, in which a person's trunk and legs would be."""
    poses = poses_of(SPIDER, [[(100, 100), (30, 40), (170, 40), (100, 180)]])
    red, other_red, blue = (
        color_histograms(spider_image(color, poses), poses)
        for color in ((200, 40, 40), (192, 38, 38), (40, 40, 200))
    )
    assert red.shape == (1, BINS)
    assert red.sum() == pytest.approx(1, abs=1e-4)
    assert histogram_similarity(red, other_red)[0, 0] > 0.85
    assert histogram_similarity(red, blue)[0, 0] < 0.3


def test_invalid_points_have_no_colors() -> None:
    poses = poses_of(SPIDER, [[(np.nan, np.nan)] * 4])
    assert color_histograms(np.zeros((9, 9, 3), np.uint8), poses).sum() == 0


def test_shipped_detector_is_for_people() -> None:
    check_detector_of(COCO17, "detector")
    check_detector_of(SPIDER, "spiders.onnx")
    with pytest.warns(DataWarning, match="the shipped detector finds people only, .* 'spider'"):
        check_detector_of(SPIDER, "detector")
