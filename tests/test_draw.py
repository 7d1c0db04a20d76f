from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from slimpose import draw
from slimpose.arrays import Image, Size
from slimpose.draw import LEFT, RIGHT, joint_colors
from slimpose.poses import Poses
from slimpose.skeleton import COCO17, Skeleton


def person(*, scale: float = 1.0, score: float = 1.0, track: int = -1) -> Poses:
    """One upright person facing the camera, in a box of 100x200 pixels times the scale."""
    positions = {
        "eye": (10, 20),
        "ear": (15, 22),
        "shoulder": (30, 50),
        "elbow": (40, 80),
        "wrist": (40, 110),
    }
    positions |= {"hip": (20, 110), "knee": (20, 150), "ankle": (20, 190)}
    points = np.zeros((1, 17, 2), np.float32)
    for row, joint in enumerate(COCO17.joints):
        side, _, part = joint.partition("_")
        x, y = positions[part] if part else (0, 25)
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


def test_left_right_and_center_have_different_colors() -> None:
    drawn = draw.draw_poses(black(), person())
    assert tuple(drawn[130, 70]) == draw.LEFT  # the middle of the left thigh
    assert tuple(drawn[130, 30]) == draw.RIGHT
    assert tuple(drawn[110, 50]) == draw.CENTER  # between the hips


def test_input_image_is_not_modified() -> None:
    image = black()
    draw.draw_poses(image, person(), boxes=True)
    assert not image.any()


def test_other_images_and_thresholds_are_rejected() -> None:
    for wrong in (black() / 255, black()[:, :, 0]):
        with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\), RGB"):
            draw.draw_poses(wrong, person())
    for threshold in (float("nan"), 30):
        with pytest.raises(ValueError, match=r"keypoint_threshold is .*; expected a number 0\.\.1"):
            draw.draw_poses(black(), person(), keypoint_threshold=threshold)


def test_joints_below_the_threshold_and_their_limbs_are_not_drawn() -> None:
    poses = person()
    scores = poses.scores.copy()
    scores[0, COCO17.joints.index("left_ankle")] = 0.29
    drawn = draw.draw_poses(black(), dataclasses.replace(poses, scores=scores))
    assert not drawn[165:200, 65:75].any()
    assert drawn[165:200, 25:35].any()
    assert not draw.draw_poses(black(), person(score=0.1)).any()


def test_line_width_follows_person_size_up_to_a_limit() -> None:
    def thickness(drawn: Image, row: int) -> int:
        half = drawn[row, : drawn.shape[1] // 2]  # the right leg
        return int((half == draw.RIGHT).all(axis=1).sum())

    small = thickness(draw.draw_poses(black(), person()), 130)
    large = thickness(draw.draw_poses(black(1100, 600), person(scale=5)), 650)
    assert small < large <= 1 + 600 / 60


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e9, 1e9])
def test_far_or_non_finite_joints_do_not_fail(value: float) -> None:
    poses = person()
    points = poses.points_image.copy()
    points[0, 3] = value
    assert draw.draw_poses(black(), dataclasses.replace(poses, points_image=points)).any()


def test_boxes_and_ids_are_drawn_only_on_request() -> None:
    plain = draw.draw_poses(black(), person(score=0.0, track=3))
    box = draw.draw_poses(black(), person(score=0.0, track=3), boxes=True)
    number = draw.draw_poses(black(), person(score=0.0, track=3), ids=True)
    untracked = draw.draw_poses(black(), person(score=0.0), ids=True)
    assert not plain.any()
    assert box[100, 100].any()
    assert number[:25].any()
    assert not number[60:].any()
    assert not untracked.any()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 2)])
def test_tiny_and_narrow_images_are_supported(size: tuple[int, int]) -> None:
    assert draw.draw_poses(black(*size), person(), boxes=True, ids=True).shape == (*size, 3)


# track ids and mosaics


def test_track_colors_are_constant_and_consecutive_ones_differ() -> None:
    colors = [draw.track_color(track) for track in range(1, 40)]
    assert colors == [draw.track_color(track) for track in range(1, 40)]
    assert len(set(colors)) == len(colors)
    for a, b in pairwise(colors):
        assert np.abs(np.subtract(a, b)).max() > 60
    assert all(max(color) == 255 for color in colors)  # light enough for black digits
    assert draw.track_color(-1) == (230, 230, 230)


def test_box_has_the_color_of_its_track() -> None:
    drawn = draw.draw_poses(black(), person(score=0.0, track=3), boxes=True, ids=True)
    assert (drawn == draw.track_color(3)).all(axis=2).any()
    assert not (drawn == draw.track_color(4)).all(axis=2).any()


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((50, 100), (25, 75), (0, 100)),
        ((100, 50), (0, 100), (25, 75)),
        ((7, 7), (0, 100), (0, 100)),
    ],
)
def test_resized_image_is_centered_on_black(
    size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    fitted = draw.resize_to_fit(np.full((*size, 3), 200, np.uint8), Size(100, 100))
    expected = np.zeros((100, 100, 3), np.uint8)
    expected[slice(*rows), slice(*columns)] = 200
    np.testing.assert_array_equal(fitted, expected)


@pytest.mark.parametrize(
    ("cameras", "shape"), [(1, (90, 160)), (2, (90, 320)), (3, (180, 320)), (5, (180, 480))]
)
def test_mosaic_has_a_tile_for_each_camera(cameras: int, shape: tuple[int, int]) -> None:
    tiles = [
        draw.Tile(image=np.full((90, 160, 3), 40 * number + 40, np.uint8), name=f"{number}")
        for number in range(cameras)
    ]
    mosaic = draw.mosaic(tiles, Size(90, 160))
    assert mosaic.shape == (*shape, 3)
    columns = shape[1] // 160
    for number in range(cameras):
        row, column = number // columns * 90, number % columns * 160
        assert mosaic[row + 80, column + 150, 0] == 40 * number + 40


def test_camera_with_a_problem_is_dimmed_and_labeled() -> None:
    image = np.full((90, 160, 3), 150, np.uint8)
    tiles = [
        draw.Tile(image=image, name="a"),
        draw.Tile(image=image, name="b", problem="waiting: the stream ended"),
        draw.Tile(image=None, name="c" * 500, problem="waiting: ünreachable " * 20),
    ]
    mosaic = draw.mosaic(tiles, Size(90, 160))
    assert mosaic[80, 150, 0] == 150
    assert mosaic[80, 160 + 150, 0] == 50
    assert mosaic[90 + 40 : 90 + 50, :160].any()  # text, also without a frame
    assert not mosaic[90:, 160:].any()  # text stays within its tile


def test_skeleton_without_sides_is_drawn_by_branch() -> None:
    joints = ("wrist", "thumb_1", "thumb_2", "index_1", "index_2")
    hand = Skeleton(
        name="hand",
        joints=joints,
        limbs=tuple(zip(("wrist", "thumb_1", "wrist", "index_1"), joints[1:], strict=True)),
    )
    wrist, *fingers = joint_colors(hand)
    assert wrist is None
    assert fingers[0] == fingers[1] != fingers[2] == fingers[3]


def test_given_colors_are_used() -> None:
    colors = ((1, 2, 3), (4, 5, 6))
    assert joint_colors(Skeleton(name="x", joints=("l_a", "r_a"), colors=colors)) == list(colors)


def test_people_are_colored_by_side() -> None:
    left, right = joint_colors(Skeleton(name="x", joints=("LEye", "REye")))
    assert (left, right) == (LEFT, RIGHT)
