from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slimpose.formats import csv as csv_format
from slimpose.formats import openpose, results
from slimpose.messages import DataWarning
from slimpose.poses import Poses
from slimpose.runtime.foreign.skeletons import WHOLE_BODY133
from slimpose.skeleton import COCO17, Skeleton


def poses_of(people: int, *, ids: list[int] | None = None, skeleton: Skeleton = COCO17) -> Poses:
    """Person p's joint j is at x = 100 p + j, y = 200 p + 2 j and scores (j + 1) / 20."""
    joints = len(skeleton.joints)
    row = np.arange(joints, dtype=np.float32)
    starts = np.arange(people, dtype=np.float32)[:, None]
    return Poses(
        points_image=np.stack([100 * starts + row, 200 * starts + 2 * row], axis=2),
        scores=np.tile((row + 1) / 20, (people, 1)).astype(np.float32),
        covariances_image=np.tile(np.array([[4, 1], [1, 9]], np.float32), (people, joints, 1, 1)),
        boxes_image=np.tile(np.array([10, 20, 40, 80], np.float32), (people, 1)),
        person_scores=np.full(people, 0.5, np.float32),
        ids=np.array([-1] * people if ids is None else ids, np.int64),
        skeleton=skeleton,
    )


# COCO results and JSON lines.


def test_record_has_a_track_id_if_tracked() -> None:
    tracked, untracked = results.records(poses_of(2, ids=[7, -1]), file_name="a.mp4", frame=3)
    assert tracked["track_id"] == 7
    assert "track_id" not in untracked
    assert " ".join(tracked) == "file_name frame category_id bbox keypoints score track_id"
    assert tracked["bbox"] == [10, 20, 30, 60]
    assert tracked["keypoints"][:6] == [0.0, 0.0, 0.05, 1.0, 2.0, 0.1]


def test_json_line_is_written_without_people_too() -> None:
    def document(poses: Poses) -> dict[str, Any]:
        line = results.json_line(poses, source="a", camera=1, frame=3, timestamp_s=0.12)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        return json.loads(line)

    assert document(poses_of(0)) == {
        "source": "a",
        "camera": 1,
        "frame": 3,
        "timestamp_s": 0.12,
        "people": [],
    }
    people = document(poses_of(2, ids=[7, -1]))["people"]
    assert [person["track_id"] for person in people] == [7, None]
    assert people[0]["bbox"] == [10, 20, 30, 60]
    assert len(people[0]["keypoints"]) == 17 * 3


# CSV.


def test_csv_has_one_row_per_person_and_joint() -> None:
    poses = poses_of(2, ids=[7, -1])
    text = csv_format.header() + csv_format.rows(
        poses, source='an, "odd" name', camera=1, frame=3, timestamp_s=0.12
    )
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    assert len(rows) == 2 * 17
    assert [row["joint"] for row in rows] == [*COCO17.joints] * 2
    assert rows[17 + 2] == {
        "source": 'an, "odd" name',
        "camera": "1",
        "frame": "3",
        "timestamp_s": "0.120000",
        "person": "1",
        "track_id": "",
        "joint": "right_eye",
        "x": "102.000",
        "y": "204.000",
        "score": "0.1500",
        "variance_x": "4.000",
        "variance_y": "9.000",
        "covariance_xy": "1.000",
    }
    assert rows[0]["track_id"] == "7"
    assert csv_format.rows(poses_of(0), source="a", camera=0, frame=0, timestamp_s=0.0) == b""


# OpenPose.


def triples(document: dict[str, Any], person: int = 0) -> np.ndarray:
    return np.array(document["people"][person]["pose_keypoints_2d"]).reshape(-1, 3)


@pytest.mark.parametrize(("order", "joints"), [("BODY_25", 25), ("COCO_18", 18)])
def test_openpose_joints_are_in_its_order(order: openpose.Order, joints: int) -> None:
    keypoints = triples(openpose.document(poses_of(1), order))
    assert keypoints.shape == (joints, 3)
    expected = {0: "nose", 2: "right_shoulder", 4: "right_wrist", 5: "left_shoulder"}
    expected |= {7: "left_wrist"}
    if order == "BODY_25":
        expected |= {9: "right_hip", 11: "right_ankle", 12: "left_hip", 14: "left_ankle"}
        expected |= {15: "right_eye", 16: "left_eye", 17: "right_ear", 18: "left_ear"}
    else:
        expected |= {8: "right_hip", 10: "right_ankle", 11: "left_hip", 13: "left_ankle"}
        expected |= {14: "right_eye", 15: "left_eye", 16: "right_ear", 17: "left_ear"}
    for row, joint in expected.items():
        index = COCO17.joints.index(joint)
        np.testing.assert_allclose(keypoints[row], [index, 2 * index, (index + 1) / 20], atol=1e-6)


def test_neck_is_midway_between_the_shoulders_with_the_lower_score() -> None:
    document = openpose.document(poses_of(1))
    np.testing.assert_allclose(
        triples(document)[1], [5.5, 11, 6 / 20], atol=1e-6
    )  # left is joint 5, right 6
    np.testing.assert_allclose(triples(document)[8], [11.5, 23, 12 / 20], atol=1e-6)
    assert not triples(document)[19:].any()  # feet are not estimated


def test_joints_missing_in_the_skeleton_are_0() -> None:
    skeleton = Skeleton(
        name="arm",
        joints=("left_wrist", "left_shoulder"),
        limbs=(),
        sigmas=(0.1, 0.1),
        upper_body=(),
    )
    keypoints = triples(openpose.document(poses_of(1, skeleton=skeleton)))
    assert np.flatnonzero(keypoints[:, 2]).tolist() == [5, 7]  # one shoulder makes no neck


def test_openpose_file_has_the_feet_face_and_hands_of_whole_bodies() -> None:
    joints, foot = list(WHOLE_BODY133.joints), ("big_toe", "small_toe", "heel")
    poses = poses_of(2, skeleton=WHOLE_BODY133)
    openpose.check_skeleton(WHOLE_BODY133)
    person = openpose.document(poses)["people"][1]

    def points(key: str) -> np.ndarray:
        return np.reshape(person[key], (-1, 3))[:, :2]

    rows = poses.points_image[1]
    feet = [joints.index(f"{side}_{part}") for side in ("left", "right") for part in foot]
    np.testing.assert_allclose(points("pose_keypoints_2d")[19:], rows[feet], atol=1e-3)
    np.testing.assert_allclose(points("face_keypoints_2d")[:68], rows[23:91], atol=1e-3)
    assert person["face_keypoints_2d"][-6:] == [0] * 6  # the pupils
    np.testing.assert_allclose(points("hand_left_keypoints_2d"), rows[91:112], atol=1e-3)
    np.testing.assert_allclose(points("hand_right_keypoints_2d"), rows[112:], atol=1e-3)
    (body,) = openpose.document(poses_of(1))["people"]
    assert body["face_keypoints_2d"] == body["hand_left_keypoints_2d"] == []
    assert body["pose_keypoints_2d"][-18:] == [0] * 18


def test_openpose_file_holds_the_ids() -> None:
    document = openpose.document(poses_of(2, ids=[7, -1]))
    assert document["version"] == 1.3
    assert [person["person_id"] for person in document["people"]] == [[7], [-1]]
    assert document["people"][0]["hand_left_keypoints_2d"] == []
    assert openpose.document(poses_of(0))["people"] == []
    assert openpose.file_name("clip", 12) == "clip_000000000012_keypoints.json"


# supervision.


def test_supervision_accepts_the_poses() -> None:
    import supervision

    from slimpose.formats.supervision import to_keypoints

    poses = poses_of(2, ids=[7, -1])
    points: Any = to_keypoints(poses)
    assert isinstance(points, supervision.KeyPoints)
    np.testing.assert_array_equal(points.xy, poses.points_image)
    assert np.asarray(points.data["track_id"]).tolist() == [7, -1]
    tracked: Any = points[points.data["track_id"] == 7]
    assert len(tracked) == 1
    canvas = supervision.VertexAnnotator(radius=3).annotate(
        np.zeros((300, 300, 3), np.uint8), tracked
    )
    assert canvas.any()
    assert len(to_keypoints(poses_of(0))) == 0


def renamed(rename: Callable[[str], str]) -> Skeleton:
    return Skeleton(
        name="renamed",
        joints=tuple(map(rename, COCO17.joints)),
        limbs=(),
        sigmas=COCO17.sigmas,
        upper_body=(),
    )


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: "_".join(reversed(name.split("_"))),  # eye_left
        lambda name: "".join(part.capitalize() for part in name.split("_")),  # LeftEye
        lambda name: name.replace("left_", "L").replace("right_", "R"),  # Leye
    ],
)
def test_openpose_joints_are_found_in_any_usual_spelling(rename: Callable[[str], str]) -> None:
    """They were written as zeros."""
    skeleton = renamed(rename)
    openpose.check_skeleton(skeleton)
    assert openpose.document(poses_of(1, skeleton=skeleton)) == openpose.document(poses_of(1))


def test_openpose_joints_that_are_missing_are_named() -> None:
    skeleton = renamed(lambda name: "left_foot" if name == "left_ankle" else name)
    with pytest.warns(DataWarning, match="OpenPose files have 0, 0, 0 for left_ankle, which"):
        openpose.check_skeleton(skeleton)
    with pytest.raises(ValueError, match="OpenPose files describe a person's body; the model's"):
        openpose.check_skeleton(renamed(lambda name: f"tool {COCO17.joints.index(name)}"))


# Image ids of files.


def test_shared_numbers_are_no_image_ids() -> None:
    files = [Path(name) for name in ("a/1.jpg", "b/0001.jpg", "b/1.png", "7.jpg", "named.jpg")]
    with pytest.warns(DataWarning, match="3 inputs share their numbers, such as a/1.jpg and b/00"):
        assert results.unique_image_numbers(files) == {Path("7.jpg"): 7}


@pytest.mark.parametrize("name", ["named.jpg", "٣.jpg", "²"])
def test_only_plain_digits_are_a_number(name: str) -> None:
    assert results.image_number(Path(name)) is None
