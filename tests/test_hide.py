from __future__ import annotations

import numpy as np
import pytest

from slimpose.arrays import Image
from slimpose.hide import FILL_RGB, HiddenBy, Hider, What, head_regions, hide
from slimpose.poses import Poses
from slimpose.skeleton import COCO17
from walkers import poses_of

FACE, SHOULDERS, HIPS = slice(0, 5), [5, 6], [11, 12]


def noise(height: int = 240, width: int = 320) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def filled(image: Image) -> np.ndarray:
    return (image == np.array(FILL_RGB, np.uint8)).all(axis=2)


def someone(**scores: float) -> Poses:
    """A person of 200 pixels in the middle; scores of "face", "shoulders", "hips" may be lower."""
    poses = poses_of([(160, 120)], height_px=200)
    for name, rows in (("face", FACE), ("shoulders", SHOULDERS), ("hips", HIPS)):
        poses.scores[0, rows] = scores.get(name, 0.9)
    return poses


@pytest.mark.parametrize("what", ["faces", "heads", "people"])
def test_all_keypoints_of_the_face_are_filled_with_one_color(what: What) -> None:
    poses, image = someone(), noise()
    hidden = hide(image, poses, what)
    x, y = np.rint(poses.points_image[0, FACE]).astype(int).T
    assert filled(hidden)[y, x].all()
    assert not filled(image).any()  # the image itself is left as it was


def test_filled_pixels_do_not_depend_on_what_was_there() -> None:
    a, b = noise(), 255 - noise()
    is_filled = filled(hide(a, someone(), "heads"))
    assert is_filled.sum() > 300
    assert (hide(a, someone(), "heads")[is_filled] == hide(b, someone(), "heads")[is_filled]).all()


def test_less_is_filled_for_faces_than_for_heads_than_for_people() -> None:
    names: tuple[What, ...] = ("faces", "heads", "people")
    areas = [filled(hide(noise(), someone(), what)).sum() for what in names]
    assert areas[0] < areas[1] < areas[2]
    assert areas[1] < 0.05 * 240 * 320


def test_people_are_filled_with_their_limbs_outside_of_the_box() -> None:
    poses = someone()
    poses.points_image[0, 9] = (300, 60)  # a wrist
    is_filled = filled(hide(noise(), poses, "people"))
    assert is_filled[60, 300]
    assert is_filled[20:220, 118:202].all()  # the box


@pytest.mark.parametrize(
    ("scores", "hidden_by"),
    [
        ({}, HiddenBy.FACE),
        ({"face": 0.1}, HiddenBy.SHOULDERS),
        ({"face": 0.1, "hips": 0.1}, HiddenBy.SHOULDERS),
        ({"face": 0.1, "shoulders": 0.1}, HiddenBy.BOX),
    ],
)
def test_head_is_found_by_face_then_shoulders_then_box(
    scores: dict[str, float], hidden_by: HiddenBy
) -> None:
    poses = someone(**scores)
    assert head_regions(poses).hidden_by.tolist() == [hidden_by]
    x, y = np.rint(poses.points_image[0, FACE]).astype(int).T
    assert filled(hide(noise(), poses, "faces"))[y, x].all()


def test_head_of_someone_upside_down_is_below_the_shoulders() -> None:
    poses = someone(face=0.1)
    poses.points_image[0, :, 1] = 240 - poses.points_image[0, :, 1]
    x, y = np.rint(poses.points_image[0, FACE]).astype(int).T
    assert filled(hide(noise(), poses, "heads"))[y, x].all()


def test_lying_person_without_a_pose_is_filled_as_a_whole() -> None:
    poses = someone(face=0.1, shoulders=0.1)
    poses.boxes_image[0] = (40, 100, 280, 180)
    assert filled(hide(noise(), poses, "faces"))[101:179, 41:279].all()


def test_one_sure_keypoint_of_a_face_does_not_place_it() -> None:
    poses = someone(face=0.1)
    poses.scores[0, 0] = 0.9
    assert head_regions(poses).hidden_by.tolist() == [HiddenBy.SHOULDERS]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_points_far_away_fill_nothing_else_and_do_not_fail(value: float) -> None:
    poses = someone()
    poses.points_image[:] = value
    hidden = hide(noise(), poses, "people")
    assert filled(hidden)[20:220, 118:202].all()


def test_nobody_is_hidden_where_nobody_is() -> None:
    assert (hide(noise(), Poses.empty(COCO17), "people") == noise()).all()


def test_unknown_name_is_rejected() -> None:
    with pytest.raises(ValueError, match="hide is 'hands'; expected faces, heads, people"):
        hide(noise(), someone(), "hands")  # pyright: ignore[reportArgumentType]


def test_frames_with_someone_without_a_pose_are_counted() -> None:
    hider = Hider("faces")
    lost, faint = someone(), someone(face=0.1, shoulders=0.1)
    lost.person_scores[:] = faint.person_scores[:] = 0
    lost.ids[:], faint.ids[:] = 7, -1
    for everyone in (someone(), someone(face=0.1, shoulders=0.1), lost, faint):
        hider(noise(), everyone)
    assert (hider.frames, hider.frames_without_pose) == (4, 2)
    assert hider.summary().startswith("faces hidden in 4 frames; in 2 of them someone had no pose")
