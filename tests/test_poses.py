from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from slimpose.poses import Poses, person_scores
from slimpose.skeleton import COCO17


def two_people() -> Poses:
    return Poses(
        points_image=np.zeros((2, 17, 2), np.float32),
        scores=np.ones((2, 17), np.float32),
        covariances_image=np.zeros((2, 17, 2, 2), np.float32),
        boxes_image=np.zeros((2, 4), np.float32),
        person_scores=np.ones(2, np.float32),
        ids=np.array([4, 7], np.int64),
        skeleton=COCO17,
    )


def test_length_is_the_number_of_people() -> None:
    assert len(two_people()) == 2


def test_empty_result_has_the_right_shapes() -> None:
    empty = Poses.empty(COCO17)
    assert len(empty) == 0
    assert empty.points_image.shape == (0, 17, 2)
    assert empty.ids.dtype == np.int64


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "points_image",
            np.zeros((17, 2), np.float32),
            "a single person still needs the first axis",
        ),
        (
            "points_image",
            np.zeros((2, 16, 2), np.float32),
            r"points_image has shape \(2, 16, 2\); expected \(2, 17, 2\)",
        ),
        ("scores", np.ones((1, 17), np.float32), r"scores has shape \(1, 17\); expected \(2, 17\)"),
        ("covariances_image", np.zeros((2, 17, 2), np.float32), r"expected \(2, 17, 2, 2\)"),
        (
            "boxes_image",
            np.zeros((2, 5), np.float32),
            r"boxes_image has shape \(2, 5\); expected \(2, 4\)",
        ),
        (
            "person_scores",
            np.ones((2, 1), np.float32),
            r"expected \(2,\) for 2 people and 17 joints",
        ),
        ("ids", np.zeros(2, np.float32), "ids are float32; expected int64"),
    ],
)
def test_wrong_shape_is_rejected_by_name(field: str, value: np.ndarray, message: str) -> None:
    poses = object.__new__(Poses)  # bypasses jaxtyping, which would raise first
    for entry in dataclasses.fields(Poses):
        field_value = value if entry.name == field else getattr(two_people(), entry.name)
        object.__setattr__(poses, entry.name, field_value)
    with pytest.raises(ValueError, match=message):
        poses.__post_init__()


def test_person_score_is_box_score_times_mean_of_counted_joints() -> None:
    joints = np.array([[0.8, 0.4, 0.1], [0.1, 0.0, 0.2]], np.float32)
    scores = person_scores(joints, np.array([0.5, 1.0], np.float32))
    np.testing.assert_allclose(
        scores, [0.3, 0.0], atol=1e-6
    )  # 0.5 (0.8 + 0.4) / 2; no joint counts
