from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.cli.output_paths import check_output_paths
from slimpose.formats import csv as csv_format
from slimpose.formats import json_lines, openpose, results
from slimpose.formats.files import write_bytes
from slimpose.formats.partial_file import PartialFile
from slimpose.poses import Poses
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


def test_a_record_has_a_track_where_a_tracker_gave_one() -> None:
    tracked, untracked = results.records(poses_of(2, ids=[7, -1]), file_name="a.mp4", frame=3)
    assert tracked["track_id"] == 7
    assert "track_id" not in untracked
    assert list(tracked) == [
        "file_name",
        "frame",
        "category_id",
        "bbox",
        "keypoints",
        "score",
        "track_id",
    ]
    assert tracked["bbox"] == [10, 20, 30, 60]
    assert tracked["keypoints"][:6] == [0.0, 0.0, 0.05, 1.0, 2.0, 0.1]


def test_a_line_is_a_frame_even_without_people() -> None:
    def document(poses: Poses) -> dict[str, Any]:
        line = json_lines.json_line(poses, source="a", camera=1, frame=3, timestamp_s=0.12)
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


def test_csv_has_one_row_a_person_a_frame_a_joint() -> None:
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
def test_openposes_joints_are_in_openposes_order(order: openpose.Order, joints: int) -> None:
    found = triples(openpose.document(poses_of(1), order))
    assert found.shape == (joints, 3)
    expected = {
        0: "nose",
        2: "right_shoulder",
        4: "right_wrist",
        5: "left_shoulder",
        7: "left_wrist",
    }
    if order == "BODY_25":
        expected |= {
            9: "right_hip",
            11: "right_ankle",
            12: "left_hip",
            14: "left_ankle",
            15: "right_eye",
        }
        expected |= {16: "left_eye", 17: "right_ear", 18: "left_ear"}
    else:
        expected |= {
            8: "right_hip",
            10: "right_ankle",
            11: "left_hip",
            13: "left_ankle",
            14: "right_eye",
        }
        expected |= {15: "left_eye", 16: "right_ear", 17: "left_ear"}
    for row, joint in expected.items():
        ours = COCO17.joints.index(joint)
        np.testing.assert_allclose(found[row], [ours, 2 * ours, (ours + 1) / 20], atol=1e-6)


def test_the_neck_is_midway_between_the_shoulders_and_as_sure_as_the_less_sure_one() -> None:
    document = openpose.document(poses_of(1))
    np.testing.assert_allclose(
        triples(document)[1], [5.5, 11, 6 / 20], atol=1e-6
    )  # left is joint 5, right 6
    np.testing.assert_allclose(triples(document)[8], [11.5, 23, 12 / 20], atol=1e-6)
    assert not triples(document)[19:].any()  # feet: nobody looks for them


def test_joints_that_a_skeleton_lacks_are_not_found() -> None:
    skeleton = Skeleton(
        name="arm",
        joints=("left_wrist", "left_shoulder"),
        limbs=(),
        sigmas=(0.1, 0.1),
        upper_body=(),
    )
    found = triples(openpose.document(poses_of(1, skeleton=skeleton)))
    assert np.flatnonzero(found[:, 2]).tolist() == [5, 7]  # and no neck of one shoulder


def test_an_openpose_file_says_who_is_who() -> None:
    document = openpose.document(poses_of(2, ids=[7, -1]))
    assert document["version"] == 1.3
    assert [person["person_id"] for person in document["people"]] == [[7], [-1]]
    assert document["people"][0]["hand_left_keypoints_2d"] == []
    assert openpose.document(poses_of(0))["people"] == []
    assert openpose.file_name("clip", 12) == "clip_000000000012_keypoints.json"


# supervision.


def test_supervision_takes_the_poses() -> None:
    import supervision

    from slimpose.formats.supervision import to_keypoints

    poses = poses_of(2, ids=[7, -1])
    points: Any = to_keypoints(poses)
    assert isinstance(points, supervision.KeyPoints)
    np.testing.assert_array_equal(points.xy, poses.points_image)
    assert np.asarray(points.data["track_id"]).tolist() == [7, -1]
    one: Any = points[points.data["track_id"] == 7]
    assert len(one) == 1
    canvas = supervision.VertexAnnotator(radius=3).annotate(np.zeros((300, 300, 3), np.uint8), one)
    assert canvas.any()
    assert len(to_keypoints(poses_of(0))) == 0


# Files that grow.


def json_file(target: Path) -> PartialFile:
    return PartialFile(target, head=b"[\n", between=b",\n", tail=b"\n]\n")


def test_a_growing_file_is_whole_after_every_record(tmp_path: Path) -> None:
    file = json_file(tmp_path / "a.json")
    for count in range(5):
        assert json.loads(file.partial.read_bytes()) == list(range(count))
        file.append(json.dumps(count).encode())
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.json"]
    file.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_bytes()) == [0, 1, 2, 3, 4]


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.none()), max_size=20))
def test_rolling_back_takes_away_what_came_after_the_mark(
    tmp_path: Path, steps: list[bytes | None]
) -> None:
    """A None marks the place; at the end everything after the last mark is taken back."""
    file = PartialFile(tmp_path / "a.bin", head=b"<", between=b"|", tail=b">")
    kept: list[bytes] = []
    records: list[bytes] = []
    mark = file.position()
    for step in steps:
        if step is None:
            mark, kept = file.position(), [*records]
        else:
            file.append(step)
            records.append(step)
    file.truncate(mark)
    assert file.partial.read_bytes() == b"<" + b"|".join(kept) + b">"
    file.append(b"more")
    assert file.partial.read_bytes() == b"<" + b"|".join([*kept, b"more"]) + b">"
    file.discard()


def test_what_a_killed_run_left_is_never_written_over(tmp_path: Path) -> None:
    killed = json_file(tmp_path / "a.json")
    killed.append(b"1")
    killed.close()
    again = json_file(tmp_path / "a.json")
    assert again.partial.name == "a.partial-2.json"
    again.finish()
    assert json.loads((tmp_path / "a.partial.json").read_bytes()) == [1]
    assert json.loads((tmp_path / "a.json").read_bytes()) == []


def test_a_full_disk_leaves_the_records_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = json_file(tmp_path / "a.json")
    file.append(b"1")
    write, full = os.write, [True]

    def half_then_full(handle: int, data: bytes) -> int:
        if full and len(data) > 4:
            full.clear()
            return write(handle, data[:2])
        if not full and len(data) > 4:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("slimpose.formats.partial_file.os.write", half_then_full)
    with pytest.raises(RuntimeError, match=r"cannot write .*a\.json: No space left on device"):
        file.append(b"12345678901234567890")
    assert json.loads(file.partial.read_bytes()) == [1]


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "true.json").write_text("old")
    for name, leads_to in (("a.json", "true.json"), ("b.json", "new.json")):
        (tmp_path / name).symlink_to(tmp_path / "there" / leads_to)
        file = json_file(tmp_path / name)
        file.append(b"1")
        file.finish()
        assert (tmp_path / name).is_symlink()
        assert json.loads((tmp_path / "there" / leads_to).read_bytes()) == [1]
        write_bytes(tmp_path / name, b"2")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / leads_to).read_bytes() == b"2"
    assert len([*tmp_path.iterdir(), *(tmp_path / "there").iterdir()]) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_no_file_comes_to_stand_in_a_devices_place(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (
        json_file,
        lambda path: write_bytes(path, b"1"),
        lambda path: check_output_paths({"--csv": path}, {}, []),
    ):
        with pytest.raises(
            ValueError, match=r"pipe is a device or a pipe; expected a file to write \(--jsonl - is"
        ):
            write(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"cannot write to .*file"):
        PartialFile(tmp_path / "file" / "a.json")
