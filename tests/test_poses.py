from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np
import pandas
import pytest

from slimpose.formats import csv
from slimpose.poses import Poses, _selection, person_scores
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


# Selecting people.


def numbered(count: int) -> Poses:
    """People whose every value is their number; of person i the box is 10 i .. 10 i + 8."""
    rows = np.arange(count, dtype=np.float32)
    boxes = 10 * rows[:, None] + np.array([0, 0, 8, 8], np.float32)
    return Poses(
        points_image=np.tile(rows[:, None, None], (1, 17, 2)),
        scores=np.tile(rows[:, None] / 10, (1, 17)),
        covariances_image=np.tile(rows[:, None, None, None], (1, 17, 2, 2)),
        boxes_image=boxes.astype(np.float32),
        person_scores=rows / 10,
        ids=np.where(rows == 0, -1, rows).astype(np.int64),
        skeleton=COCO17,
    )


def numbers(poses: Poses) -> list[int]:
    """The people of ``numbered`` in a selection; every array must agree."""
    rows = poses.points_image[:, 0, 0]
    for values in (
        poses.points_image[:, 16, 1],
        poses.scores[:, 3] * 10,
        poses.covariances_image[:, 2, 1, 0],
        poses.boxes_image[:, 0] / 10,
        poses.person_scores * 10,
        np.where(poses.ids == -1, 0, poses.ids),
    ):
        np.testing.assert_allclose(values, rows, atol=1e-5)
    return rows.astype(int).tolist()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (3, [3]),
        (-1, [4]),
        (np.int64(2), [2]),
        (slice(1, None, 2), [1, 3]),
        (slice(9, None), []),
        (np.array([True, False, False, False, True]), [0, 4]),
        ([False, True, False, False, False], [1]),
        ([4, 0, 0], [4, 0, 0]),
        (np.array([2, -1]), [2, 4]),
        ([], []),
        (np.zeros(5, bool), []),
    ],
)
def test_people_are_selected(rows: Any, expected: list[int]) -> None:
    selected = numbered(5)[rows]
    assert isinstance(selected, Poses)
    assert numbers(selected) == expected


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (5, IndexError, r"there is no person 5; expected -5\.\.4"),
        ([0, -6], IndexError, r"there is no person \[0, -6\]"),
        (np.ones(4, bool), IndexError, "the mask has 4 entries; expected 5, one for each person"),
        ("nose", TypeError, "people are selected by 'nose'; expected a number, a slice, a mask"),
        (1.0, TypeError, "people are selected by 1.0"),
        (True, TypeError, "people are selected by True"),
        (None, TypeError, "people are selected by None"),
        (np.zeros((5, 17), bool), TypeError, r"expected .* a mask \(n,\) of bool"),
    ],
)
def test_impossible_selections_are_rejected(rows: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        _selection(rows, 5)


def test_no_people_can_be_selected_of_none() -> None:
    empty = Poses.empty(COCO17)
    assert len(empty[np.zeros(0, bool)]) == len(empty[:]) == len(empty.filter()) == 0
    with pytest.raises(IndexError, match="expected none: no people were found"):
        empty[0]


def test_people_are_iterated() -> None:
    people = list(numbered(3))
    assert [numbers(person) for person in people] == [[0], [1], [2]]
    assert list(Poses.empty(COCO17)) == []


def test_equality_is_identity() -> None:
    poses = numbered(3)
    assert poses[0] != poses[0]
    assert poses == poses


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"min_score": 0.2}, [2, 3, 4]),
        ({"box": (10.0, 10.0, 30.0, 30.0)}, [1, 2]),  # centers 14, 24; person 3 begins at 30
        ({"box": [0.0, 0.0, 14.0, 14.0]}, [0, 1]),
        ({"min_score": 0.2, "box": np.array([0, 0, 30, 30])}, [2]),
    ],
)
def test_people_are_filtered(conditions: dict[str, Any], expected: list[int]) -> None:
    assert numbers(numbered(5).filter(**conditions)) == expected


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"min_score": 30.0}, r"min_score is 30.0; expected a number 0\.\.1"),
        ({"min_score": float("nan")}, "min_score is nan"),
        (
            {"box": (10.0, 10.0, 5.0, 5.0)},
            r"box is \(10.0, 10.0, 5.0, 5.0\); expected x1",
        ),
        ({"box": (0.0, 0.0, float("nan"), 5.0)}, "expected x1, y1, x2, y2"),
        ({"box": (0.0, 0.0, 5.0)}, "expected x1, y1, x2, y2"),
    ],
)
def test_impossible_conditions_are_rejected(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbered(2).filter(**conditions)


# Conversions.


def test_representation_is_one_short_line() -> None:
    assert repr(Poses.empty(COCO17)) == "<Poses: 0 people, 17 keypoints (coco17)>"
    assert repr(numbered(1)) == "<Poses: 1 person, 17 keypoints (coco17), scores 0.00>"
    assert repr(numbered(8)) == (
        "<Poses: 8 people, 17 keypoints (coco17), scores 0.00 0.10 0.20 0.30 0.40 0.50 ..., "
        "ids -1 1 2 3 4 5 ...>"
    )


def test_dict_is_json_with_everything() -> None:
    document = json.loads(json.dumps(numbered(3).to_dict()))
    assert document["skeleton"] == "coco17"
    first, _, last = document["people"]
    assert first["track_id"] is None
    assert last["track_id"] == 2
    assert last["score"] == pytest.approx(0.2)
    assert last["box"] == [20, 20, 28, 28]
    assert list(last["keypoints"]) == list(COCO17.joints)
    nose = last["keypoints"]["nose"]
    assert nose == {"x": 2, "y": 2, "score": pytest.approx(0.2), "covariance": [[2, 2], [2, 2]]}


def test_data_frame_has_a_row_per_keypoint() -> None:
    frame = numbered(3).to_dataframe()
    assert len(frame) == 3 * 17
    assert set(csv.COLUMNS) - set(frame.columns) == {"source", "camera", "frame", "timestamp_s"}
    row = frame[(frame.person == 2) & (frame.joint == "left_wrist")].iloc[0]
    assert (row.track_id, row.x, row.y, row.variance_x) == (2, 2, 2, 2)
    assert frame.track_id.isna().sum() == 17
    assert frame.track_id.dtype == pandas.Int64Dtype()
    wide = frame.pivot(index="person", columns="joint", values="x")
    assert wide.loc[1, "nose"] == 1
    empty = Poses.empty(COCO17).to_dataframe()
    assert len(empty) == 0
    assert list(empty.columns) == list(frame.columns)


@pytest.mark.parametrize(
    ("method", "package"), [("to_dataframe", "pandas"), ("to_supervision", "supervision")]
)
def test_missing_package_is_named(
    method: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ModuleNotFoundError,
        match=rf"^{method}\(\) needs {package}, which is not installed: pip install {package}$",
    ):
        getattr(numbered(1), method)()
