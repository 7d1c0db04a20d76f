from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from slimpose import draw
from slimpose.arrays import Image
from slimpose.poses import Poses
from slimpose.skeleton import COCO17


def person(*, scale: float = 1.0, score: float = 1.0, track: int = -1) -> Poses:
    """Someone upright in a box of 100x200 pixels (times the scale), seen from the front."""
    places = {"eye": (10, 20), "ear": (15, 22), "shoulder": (30, 50), "elbow": (40, 80), "wrist": (40, 110)}
    places |= {"hip": (20, 110), "knee": (20, 150), "ankle": (20, 190)}
    points = np.zeros((1, 17, 2), np.float32)
    for row, joint in enumerate(COCO17.joints):
        side, _, part = joint.partition("_")
        x, y = places[part] if part else (0, 25)
        points[0, row] = (50 + (x if side == "left" else -x), y)
    return Poses(
        points_image=points * np.float32(scale),
        scores=np.full((1, 17), score, np.float32),
        covariances_image=np.zeros((1, 17, 2, 2), np.float32),
        boxes_image=np.array([[0, 0, 100 * scale, 200 * scale]], np.float32),
        person_scores=np.ones(1, np.float32),
        ids=np.array([track], np.int64),
        skeleton=COCO17,
    )


def black(height: int = 220, width: int = 120) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def test_left_right_and_middle_have_their_own_colours() -> None:
    drawn = draw.draw_poses(black(), person())
    assert tuple(drawn[130, 70]) == draw.LEFT  # the middle of the left thigh
    assert tuple(drawn[130, 30]) == draw.RIGHT
    assert tuple(drawn[110, 50]) == draw.CENTRE  # between the hips


def test_the_picture_given_is_left_as_it_was() -> None:
    image = black()
    draw.draw_poses(image, person(), boxes=True)
    assert not image.any()


def test_joints_under_the_threshold_and_their_limbs_are_left_out() -> None:
    poses = person()
    scores = poses.scores.copy()
    scores[0, COCO17.joints.index("left_ankle")] = 0.29
    drawn = draw.draw_poses(black(), dataclasses.replace(poses, scores=scores))
    assert not drawn[165:200, 65:75].any()
    assert drawn[165:200, 25:35].any()
    assert not draw.draw_poses(black(), person(score=0.1)).any()


def test_lines_grow_with_the_person_but_not_beyond_the_picture() -> None:
    def thickness(drawn: Image, row: int) -> int:
        half = drawn[row, : drawn.shape[1] // 2]  # the right leg
        return int((half == draw.RIGHT).all(axis=1).sum())

    small = thickness(draw.draw_poses(black(), person()), 130)
    large = thickness(draw.draw_poses(black(1100, 600), person(scale=5)), 650)
    assert small < large <= 1 + 600 / 60


@pytest.mark.parametrize("place", [np.nan, np.inf, -1e9, 1e9])
def test_joints_far_away_or_nowhere_do_no_harm(place: float) -> None:
    poses = person()
    points = poses.points_image.copy()
    points[0, 3] = place
    assert draw.draw_poses(black(), dataclasses.replace(poses, points_image=points)).any()


def test_boxes_and_ids_are_drawn_only_when_asked_for() -> None:
    nothing = draw.draw_poses(black(), person(score=0.0, track=3))
    box = draw.draw_poses(black(), person(score=0.0, track=3), boxes=True)
    number = draw.draw_poses(black(), person(score=0.0, track=3), ids=True)
    untracked = draw.draw_poses(black(), person(score=0.0), ids=True)
    assert not nothing.any()
    assert box[100, 100].any()
    assert number[:25].any()
    assert not number[60:].any()
    assert not untracked.any()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 2)])
def test_tiny_and_narrow_pictures_are_drawn_on(size: tuple[int, int]) -> None:
    assert draw.draw_poses(black(*size), person(), boxes=True, ids=True).shape == (*size, 3)
