from __future__ import annotations

import numpy as np

from slimpose.skeleton import COCO17
from slimpose.tracking.boxes import fitted_box, joint_extents, pairwise_oks, pose_quality
from walkers import HEIGHT_PX, box, person, poses_of

ALL = np.full(17, 0.8, np.float32)

# Duplicates.


def test_oks_is_high_for_duplicates_and_low_for_a_neighbor() -> None:
    poses = poses_of([(100, 100), (101, 100), (125, 100)])
    oks = pairwise_oks(poses.points_image, poses.scores, COCO17)
    assert oks[0, 1] > 0.9
    # Not 0: the left arm of the one is where the right arm of the other is.
    assert oks[0, 2] < 0.5


def test_pose_in_a_box_without_the_legs_is_a_duplicate() -> None:
    poses = poses_of([(100, 100), (101, 100)])
    poses.points_image[1, 11:, 1] -= 40  # the legs are estimated inside the box
    poses.scores[1, 11:] = 0.4
    assert pairwise_oks(poses.points_image, poses.scores, COCO17)[0, 1] > 0.9


def test_pose_with_swapped_left_and_right_is_a_duplicate() -> None:
    poses = poses_of([(100, 100), (101, 100)])
    poses.points_image[1] = poses.points_image[1, COCO17.flip_indices]
    assert pairwise_oks(poses.points_image, poses.scores, COCO17)[0, 1] > 0.9


def test_child_in_front_of_an_adult_is_not_a_duplicate() -> None:
    adult, child = poses_of([(100, 100)]), poses_of([(100, 125)], height_px=50)
    points = np.concatenate([adult.points_image, child.points_image])
    assert pairwise_oks(points, np.full((2, 17), 0.8, np.float32), COCO17)[0, 1] < 0.5


def test_hidden_joints_hardly_lower_the_quality() -> None:
    half = np.full((1, 17), 0.8, np.float32)
    half[0, 11:] = 0.05
    assert pose_quality(half)[0] > 0.75
    assert pose_quality(np.zeros((1, 17), np.float32))[0] == 0


# Boxes.


def test_joint_extent_of_a_standing_person_is_close_to_the_box() -> None:
    extent = joint_extents(person(100, 100)[None], ALL[None])[0]
    np.testing.assert_allclose(extent, box(100, 100), atol=0.09 * HEIGHT_PX)


def test_box_grows_at_once_to_a_raised_hand_and_shrinks_slowly() -> None:
    raised = person(100, 100)
    raised[9] = (117, 30)
    wide = fitted_box(box(100, 100), raised, ALL, elapsed_s=0.04)
    assert wide[1] < 30
    after_a_frame = fitted_box(wide, person(100, 100), ALL, elapsed_s=0.04)
    assert wide[1] < after_a_frame[1] < 33
    for _ in range(150):
        wide = fitted_box(wide, person(100, 100), ALL, elapsed_s=0.04)
    np.testing.assert_allclose(wide, joint_extents(person(100, 100)[None], ALL[None])[0], atol=0.5)


def test_box_does_not_change_where_hardly_a_joint_is_visible() -> None:
    two = np.where(np.arange(17) < 2, 0.8, 0.1).astype(np.float32)
    np.testing.assert_array_equal(
        fitted_box(box(100, 100), person(300, 300), two, elapsed_s=0.1), box(100, 100)
    )
