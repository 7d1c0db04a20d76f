"""Who is who: poses against expectations, colors, the rigid part of a move, boxes drawn to poses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.poses import Poses
from slimpose.runtime.tracking.appearance import BINS, histogram_similarity, torso_histograms
from slimpose.runtime.tracking.association import pose_similarity
from slimpose.runtime.tracking.boxes import fitted_box, joint_extents, pairwise_oks, pose_quality
from slimpose.runtime.tracking.motion_model import MotionModel, fit_shift_scale
from slimpose.skeleton import COCO17
from walkers import HEIGHT_PX, box, person, poses_of

ALL = np.full(17, 0.8, np.float32)


def similarity(a: Poses, b: Poses, variance: float | None = None) -> np.ndarray:
    return pose_similarity(
        a.points_image, a.scores, a.boxes_image, b.points_image, b.scores, b.boxes_image, COCO17,
        position_variance_a=None if variance is None else np.full(len(a), variance, np.float32),
    )  # fmt: skip


# similarity


def test_a_person_is_wholly_like_themselves_and_not_at_all_like_somebody_far_away() -> None:
    people = poses_of([(100, 100), (400, 100)])
    np.testing.assert_allclose(similarity(people, people), np.eye(2), atol=1e-6)


def test_the_less_is_known_of_the_place_the_less_a_shift_counts() -> None:
    here, there = poses_of([(100, 100)]), poses_of([(115, 100)])
    sure, unsure = similarity(here, there, 0.0)[0, 0], similarity(here, there, 20.0**2)[0, 0]
    assert sure < 0.5
    assert unsure > 0.7


def test_hands_and_feet_may_go_their_own_ways_but_not_head_and_trunk() -> None:
    here, waving, elsewhere = poses_of([(100, 100)]), poses_of([(100, 100)]), poses_of([(100, 100)])
    waving.points_image[0, [7, 8, 9, 10, 13, 14, 15, 16]] += 500
    assert similarity(here, waving)[0, 0] == pytest.approx(1)
    elsewhere.points_image[0, [0, 1, 2, 3, 4, 5, 6, 11, 12]] += 500
    assert similarity(here, elsewhere)[0, 0] < 0.97


def test_a_joint_that_either_pose_does_not_show_does_not_count() -> None:
    here, there = poses_of([(100, 100)]), poses_of([(100, 100)])
    there.points_image[0, 2:] += 500
    with_all = similarity(here, there)[0, 0]
    there.scores[0, 2:] = 0
    assert with_all < 0.5
    assert similarity(here, there)[0, 0] == pytest.approx(1)


def test_left_and_right_may_change_places() -> None:
    # As they do in the poses of people seen from the side; this one's shoulders are 24 px apart.
    here, mirrored = poses_of([(100, 100)]), poses_of([(100, 100)])
    mirrored.points_image[0] = mirrored.points_image[0, COCO17.flip_indices]
    assert similarity(here, mirrored)[0, 0] == pytest.approx(0.9, abs=1e-3)


def test_where_no_joint_is_shown_the_boxes_decide() -> None:
    here, there = (
        poses_of([(100, 100)], score=0.0),
        poses_of([(121, 100)], score=0.0),
    )  # half a box aside
    assert similarity(here, there)[0, 0] == pytest.approx(1 / 3, abs=1e-3)


# one person seen twice


def test_two_poses_of_one_person_are_the_same_and_a_neighbor_is_not() -> None:
    found = poses_of([(100, 100), (101, 100), (125, 100)])
    alike = pairwise_oks(found.points_image, found.scores, COCO17)
    assert alike[0, 1] > 0.9
    assert (
        alike[0, 2] < 0.5
    )  # not nought: the left arm of the one is where the right arm of the other is


def test_a_person_in_a_box_that_cuts_off_the_legs_is_the_same_person() -> None:
    found = poses_of([(100, 100), (101, 100)])
    found.points_image[1, 11:, 1] -= 40  # the legs put where they fit into that box
    found.scores[1, 11:] = 0.4
    assert pairwise_oks(found.points_image, found.scores, COCO17)[0, 1] > 0.9


def test_a_person_seen_twice_with_left_and_right_changed_is_the_same_person() -> None:
    found = poses_of([(100, 100), (101, 100)])
    found.points_image[1] = found.points_image[1, COCO17.flip_indices]
    assert pairwise_oks(found.points_image, found.scores, COCO17)[0, 1] > 0.9


def test_a_child_before_an_adult_is_not_the_adult() -> None:
    adult, child = poses_of([(100, 100)]), poses_of([(100, 125)], height_px=50)
    points = np.concatenate([adult.points_image, child.points_image])
    assert pairwise_oks(points, np.full((2, 17), 0.8, np.float32), COCO17)[0, 1] < 0.5


def test_hidden_joints_hardly_count_for_the_quality() -> None:
    half = np.full((1, 17), 0.8, np.float32)
    half[0, 11:] = 0.05
    assert pose_quality(half)[0] > 0.75
    assert pose_quality(np.zeros((1, 17), np.float32))[0] == 0


# the rigid part of a move


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.85, 1.2))
def test_a_shift_and_a_growth_are_found_again(dx: float, dy: float, growth: float) -> None:
    before = person(100, 100)
    after = ((before - 100) * growth + np.array([100 + dx, 100 + dy])).astype(np.float32)
    moved = fit_shift_scale(before, after, ALL)
    assert moved.scale == pytest.approx(growth, rel=1e-3)
    np.testing.assert_allclose(moved.move_points(before), after, atol=1e-2)
    np.testing.assert_allclose(
        moved.move_box(box(100, 100)), box(100 + dx, 100 + dy, height_px=100 * growth), atol=2e-2
    )


def test_nobody_moves_where_no_joint_is_shown() -> None:
    moved = fit_shift_scale(person(0, 0), person(50, 0), np.zeros(17, np.float32))
    np.testing.assert_allclose(moved.move_points(person(7, 7)), person(7, 7), atol=1e-4)


@pytest.mark.parametrize("fps", [5.0, 25.0, 60.0])
def test_the_speed_of_a_walker_is_learnt_at_any_frame_rate(fps: float) -> None:
    motion = MotionModel(size_px=65.0)
    for frame in range(round(2 * fps)):
        moved = fit_shift_scale(person(60 * frame / fps, 0), person(60 * (frame + 1) / fps, 0), ALL)
        motion.update(moved, 1 / fps, 65.0)
    np.testing.assert_allclose(motion.velocity, [60, 0], atol=1.5)
    np.testing.assert_allclose(
        motion.expected_shift(0.2), [11.4, 0], atol=0.6
    )  # a twentieth less than 12: coasting


def test_the_longer_unseen_the_less_is_known_of_the_place_up_to_a_limit() -> None:
    motion = MotionModel(size_px=65.0)
    spreads = [motion.position_variance(seconds) for seconds in (0.0, 0.1, 0.4, 5.0, 50.0)]
    assert spreads[0] < spreads[1] < spreads[2] < spreads[3] == spreads[4]


# boxes


def test_the_extent_of_a_standing_person_is_about_their_box() -> None:
    extent = joint_extents(person(100, 100)[None], ALL[None])[0]
    np.testing.assert_allclose(extent, box(100, 100), atol=0.09 * HEIGHT_PX)


def test_a_box_moves_out_to_a_raised_hand_at_once_and_comes_back_slowly() -> None:
    raised = person(100, 100)
    raised[9] = (117, 30)
    start = box(100, 100)
    wide = fitted_box(start, raised, ALL, elapsed_s=0.04)
    assert wide[1] < 30
    after_a_frame = fitted_box(wide, person(100, 100), ALL, elapsed_s=0.04)
    assert wide[1] < after_a_frame[1] < 33
    for _ in range(150):
        wide = fitted_box(wide, person(100, 100), ALL, elapsed_s=0.04)
    np.testing.assert_allclose(wide, joint_extents(person(100, 100)[None], ALL[None])[0], atol=0.5)


def test_a_box_stays_where_hardly_a_joint_is_shown() -> None:
    two = np.where(np.arange(17) < 2, 0.8, 0.1).astype(np.float32)
    np.testing.assert_array_equal(
        fitted_box(box(100, 100), person(300, 300), two, elapsed_s=0.1), box(100, 100)
    )


# colors


def clothed(color: tuple[int, int, int]) -> np.ndarray:
    image = np.full((200, 200, 3), 90, np.uint8)
    image[50:150, 80:120] = color
    return image


def test_the_same_clothes_in_other_light_are_more_alike_than_other_clothes() -> None:
    boxes = box(100, 100)[None]
    red, dim_red, blue = (
        torso_histograms(clothed(color), boxes)
        for color in ((200, 40, 40), (190, 38, 38), (40, 40, 200))
    )
    assert histogram_similarity(red, red)[0, 0] == pytest.approx(1, abs=1e-5)
    assert histogram_similarity(red, dim_red)[0, 0] > 0.85
    assert histogram_similarity(red, blue)[0, 0] < 0.5


def test_a_histogram_sums_to_one_and_a_box_off_the_image_has_none() -> None:
    boxes = np.stack([box(100, 100), box(199, 100), box(900, 900)])
    histograms = torso_histograms(clothed((1, 2, 3)), boxes)
    assert histograms.shape == (3, BINS)
    np.testing.assert_allclose(histograms.sum(axis=1), [1, 1, 0], atol=1e-5)


def test_an_unknown_color_is_held_against_nobody() -> None:
    some = torso_histograms(clothed((9, 99, 199)), box(100, 100)[None])
    assert histogram_similarity(some, np.zeros((1, BINS), np.float32))[0, 0] == 1
