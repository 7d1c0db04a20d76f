from __future__ import annotations

import numpy as np
import pytest

from slimpose.poses import Poses
from slimpose.skeleton import COCO17
from slimpose.tracking.association import pose_similarity
from walkers import poses_of


def similarity(a: Poses, b: Poses, variance: float | None = None) -> np.ndarray:
    return pose_similarity(
        a.points_image, a.scores, a.boxes_image, b.points_image, b.scores, b.boxes_image, COCO17,
        position_variance_a=None if variance is None else np.full(len(a), variance, np.float32),
    )  # fmt: skip


def test_similarity_is_1_for_the_same_pose_and_0_for_a_distant_one() -> None:
    people = poses_of([(100, 100), (400, 100)])
    np.testing.assert_allclose(similarity(people, people), np.eye(2), atol=1e-6)


def test_shift_costs_less_with_an_uncertain_position() -> None:
    expected, shifted = poses_of([(100, 100)]), poses_of([(115, 100)])
    certain = similarity(expected, shifted, 0.0)[0, 0]
    uncertain = similarity(expected, shifted, 20.0**2)[0, 0]
    assert certain < 0.5
    assert uncertain > 0.7


def test_limbs_may_move_alone_but_head_and_trunk_may_not() -> None:
    expected = poses_of([(100, 100)])
    waving, elsewhere = poses_of([(100, 100)]), poses_of([(100, 100)])
    waving.points_image[0, [7, 8, 9, 10, 13, 14, 15, 16]] += 500
    assert similarity(expected, waving)[0, 0] == pytest.approx(1)
    elsewhere.points_image[0, [0, 1, 2, 3, 4, 5, 6, 11, 12]] += 500
    assert similarity(expected, elsewhere)[0, 0] < 0.97


def test_joint_hidden_in_either_pose_does_not_count() -> None:
    expected, observed = poses_of([(100, 100)]), poses_of([(100, 100)])
    observed.points_image[0, 2:] += 500
    with_all = similarity(expected, observed)[0, 0]
    observed.scores[0, 2:] = 0
    assert with_all < 0.5
    assert similarity(expected, observed)[0, 0] == pytest.approx(1)


def test_swapped_left_and_right_cost_little() -> None:
    # As in poses of people viewed from the side; this one's shoulders are 24 px apart.
    expected, mirrored = poses_of([(100, 100)]), poses_of([(100, 100)])
    mirrored.points_image[0] = mirrored.points_image[0, COCO17.flip_indices]
    assert similarity(expected, mirrored)[0, 0] == pytest.approx(0.9, abs=1e-3)


def test_box_iou_decides_where_no_joint_is_visible() -> None:
    expected = poses_of([(100, 100)], score=0.0)
    half_a_box_aside = poses_of([(121, 100)], score=0.0)
    assert similarity(expected, half_a_box_aside)[0, 0] == pytest.approx(1 / 3, abs=1e-3)
