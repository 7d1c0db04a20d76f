from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from run_cli import (
    TEXT_OUTPUTS,
    Capture,
    all_files,
    csv_rows,
    frames_in,
    in_work_folder,
    json_lines,
    json_records,
    start,
    wait_until,
    write_models,
    write_walk,
)
from slimpose.arrays import Size

Predict = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """``slimpose predict`` in an empty folder with synthetic models; returns the exit code."""
    return in_work_folder("predict", tmp_path, monkeypatch)


def test_person_keeps_the_id_through_a_video(predict: Predict) -> None:
    write_walk(Path("walk.avi"), 25)
    assert predict("walk.avi", "--json", "poses.json", "--detect-every", "1") == 0
    records = json_records(Path("poses.json"))
    assert len({record["track_id"] for record in records}) == 1
    frames = [record["frame"] for record in records]
    assert frames[-1] == 24
    assert frames == list(range(frames[0], 25))
    assert len(frames) >= 20
    noses = np.array([record["keypoints"][:2] for record in records])
    np.testing.assert_allclose(noses, [(30 + frame, 40) for frame in frames], atol=3)
    assert frames_in(Path("out/walk.mp4")) == 25


def test_ids_start_at_1_in_each_video(predict: Predict) -> None:
    write_walk(Path("a.avi"), 10)
    write_walk(Path("b.avi"), 10)
    assert predict("a.avi", "b.avi", "--no-draw", "--json", "poses.json") == 0
    records = json_records(Path("poses.json"))
    assert {(record["file_name"], record["track_id"]) for record in records} == {
        ("a.avi", 1),
        ("b.avi", 1),
    }


def test_without_tracking_records_have_no_track_id(predict: Predict) -> None:
    write_walk(Path("walk.avi"), 6)
    assert predict("walk.avi", "--json", "poses.json", "--no-track") == 0
    records = json_records(Path("poses.json"))
    assert [record["frame"] for record in records] == list(range(6))
    assert not any("track_id" in record for record in records)


def test_smoothing_can_be_turned_off(predict: Predict) -> None:
    write_walk(Path("walk.avi"), 20)

    def points(*options: str) -> np.ndarray:
        written = ["--json", "poses.json", "--overwrite"]
        assert predict("walk.avi", "--no-draw", *written, *options) == 0
        return np.array([record["keypoints"] for record in json_records(Path("poses.json"))])

    smooth, raw = points(), points("--no-smooth")
    assert smooth.shape == raw.shape
    assert np.abs(smooth - raw).max() > 0.01


@pytest.mark.parametrize(("every", "low", "high"), [("1", 24, 24), ("6", 4, 15)])
def test_detector_runs_on_every_nth_frame_and_when_needed(
    predict: Predict, capsys: Capture, every: str, low: int, high: int
) -> None:
    write_walk(Path("walk.avi"), 24)
    assert predict("walk.avi", "--no-draw", "--detect-every", every) == 0
    match = re.search(r"the detector ran on (\d+) frames of videos", capsys.readouterr().out)
    assert match is not None
    assert low <= int(match[1]) <= high


def test_detection_interval_of_0_is_rejected(predict: Predict, capsys: Capture) -> None:
    assert predict("walk.avi", "--detect-every", "0") == 2
    assert "--detect-every is 0; expected 1 or more" in capsys.readouterr().err


def test_all_outputs_agree(predict: Predict) -> None:
    write_walk(Path("walk.avi"), 12)
    written = ["--json", "a.json", "--csv", "a.csv", "--jsonl", "a.jsonl", "--openpose", "op"]
    assert predict("walk.avi", *written, "--openpose-order", "COCO_18", "--detect-every", "1") == 0
    records, rows = json_records(Path("a.json")), csv_rows(Path("a.csv"))
    lines = json_lines(Path("a.jsonl").read_text())
    assert all_files("op") == [f"walk_{frame:012d}_keypoints.json" for frame in range(12)]
    assert [line["frame"] for line in lines] == list(range(12))
    np.testing.assert_allclose(
        [line["timestamp_s"] for line in lines], np.arange(12) / 25, atol=1e-6
    )
    assert len(rows) == 17 * len(records)
    people = [(line["frame"], person) for line in lines for person in line["people"]]
    for (frame, person), record in zip(people, records, strict=True):
        assert frame == record["frame"]
        assert person["keypoints"] == record["keypoints"]
        assert person["track_id"] == record["track_id"]
        (openpose,) = json.loads((Path("op") / f"walk_{frame:012d}_keypoints.json").read_text())[
            "people"
        ]
        assert openpose["pose_keypoints_2d"][:2] == record["keypoints"][:2]
        assert len(openpose["pose_keypoints_2d"]) == 18 * 3
    noses = [row for row in rows if row["joint"] == "nose"]
    assert [float(row["x"]) for row in noses] == [record["keypoints"][0] for record in records]
    assert {row["source"] for row in rows} == {"walk.avi"}


def test_json_lines_are_the_only_standard_output(predict: Predict, capsys: Capture) -> None:
    write_walk(Path("walk.avi"), 5)
    assert predict("walk.avi", "--jsonl", "-", "--profile") == 0
    output = capsys.readouterr()
    assert [line["frame"] for line in json_lines(output.out)] == list(range(5))
    assert "1 video (5 frames)" in output.err
    assert "Where the time went" in output.err


def test_closed_pipe_does_not_affect_other_outputs(tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    for name in ("a.avi", "b.avi"):
        write_walk(tmp_path / name, 30)
    process = start(
        "predict", "a.avi", "b.avi", *options, "--jsonl", "-", "--json", "p.json", folder=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    err = process.stderr.read()
    assert err.endswith(
        "written: out, p.json\nslimpose: standard output was closed by the program that read it\n"
    )
    assert "failed" not in err
    frames = {
        (record["file_name"], record["frame"]) for record in json_records(tmp_path / "p.json")
    }
    assert frames == {(name, frame) for name in ("a.avi", "b.avi") for frame in range(30)}


def test_openpose_files_of_videos_with_one_name_get_distinct_names(predict: Predict) -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        write_walk(Path(folder) / "walk.avi", 2)
    assert predict("one", "two", "--no-draw", "--openpose", "op") == 0
    assert all_files("op") == [
        f"walk{s}_{frame:012d}_keypoints.json" for s in ("-2", "") for frame in range(2)
    ]


def test_failed_video_is_removed_from_all_outputs(predict: Predict) -> None:
    write_walk(Path("a.avi"), 4)
    write_walk(Path("b.avi"), 4)
    boxes = [
        {"file_name": f"{name}.avi", "frame": frame, "bbox": [30, 20, 40, 40]}
        for name in "ab"
        for frame in (0, 1)
    ]
    boxes += [{"file_name": "a.avi", "frame": 2, "bbox": [300, 0, 9, 9]}]
    Path("boxes.json").write_text(json.dumps(boxes))
    assert predict("a.avi", "b.avi", "--boxes", "boxes.json", *TEXT_OUTPUTS) == 2
    assert {record["file_name"] for record in json_records(Path("p.json"))} == {"b.avi"}
    assert {row["source"] for row in csv_rows(Path("p.csv"))} == {"b.avi"}
    assert [line["source"] for line in json_lines(Path("p.jsonl").read_text())] == ["b.avi"] * 4
    assert all_files("op") == [f"b_{frame:012d}_keypoints.json" for frame in range(4)]
    assert all_files("out") == ["b.mp4"]


def test_damaged_frame_is_reported_and_the_rest_is_processed(
    predict: Predict, capsys: Capture
) -> None:
    path = write_walk(Path("walk.avi"), 12)
    data = path.read_bytes()
    starts = [start for start in range(len(data)) if data.startswith(b"\xff\xd8\xff", start)]
    path.write_bytes(data[: starts[5]] + bytes(200) + data[starts[5] + 200 :])
    assert predict("walk.avi", "--jsonl", "p.jsonl") == 2
    assert (
        "walk.avi: 1 damaged frame could not be decoded (the first is frame 5)"
        in capsys.readouterr().err
    )
    lines = json_lines(Path("p.jsonl").read_text())
    assert [line["frame"] for line in lines] == [n for n in range(12) if n != 5]
    assert frames_in(Path("out/walk.mp4")) == 11


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["walk.avi", "--csv", "walk.avi"], "--csv walk.avi is an input of this call"),
        (["walk.avi", "--csv", "a", "--json", "a"], "--json and --csv: two of them are one file"),
        (
            ["walk.avi", "--openpose", "walk.avi"],
            "--openpose walk.avi is a file; expected a folder",
        ),
        (["ftp://admin:hunter2@host/x"], "ftp://***@host/x: cannot open ftp://; expected rtsp"),
    ],
)
def test_invalid_arguments_are_rejected(
    predict: Predict, capsys: Capture, args: list[str], message: str
) -> None:
    write_walk(Path("walk.avi"), 2)
    assert predict(*args) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert "hunter2" not in output.out + output.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_files_of_a_killed_run_are_readable_up_to_the_last_records(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    options = write_models(tmp_path / "models")
    write_walk(tmp_path / "walk.avi", 5000)
    process = start("predict", "walk.avi", *options, *TEXT_OUTPUTS, folder=tmp_path)
    lines = tmp_path / "p.partial.jsonl"
    wait_until(lambda: lines.is_file() and lines.read_bytes().count(b"\n") > 60, process)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    frames = json_lines(lines.read_text())
    last = frames[-1]["frame"]
    assert last >= 60
    people = sum(len(frame["people"]) for frame in frames)
    assert abs(len(json_records(tmp_path / "p.partial.json")) - people) <= 2
    rows = csv_rows(tmp_path / "p.partial.csv")
    assert abs(len(rows) - 17 * people) <= 2 * 17
    assert None not in rows[-1].values()
    documents = [json.loads(path.read_text()) for path in (tmp_path / "op").glob("walk_*.json")]
    assert abs(len(documents) - last - 1) <= 1
    assert abs(frames_in(tmp_path / "out" / "walk.partial.mp4") - last - 1) <= 2


def test_tracked_people_are_drawn_with_id_and_box(predict: Predict) -> None:
    write_walk(Path("walk.avi"), 12, size=Size(192, 192))
    assert predict("walk.avi") == 0
    assert predict("walk.avi", "--no-track", "--out", "plain") == 0
    last: list[np.ndarray] = []
    for folder in ("out", "plain"):
        capture = cv2.VideoCapture(f"{folder}/walk.mp4")
        frames = [capture.read()[1] for _ in range(12)]
        last.append(frames[-1].astype(int))
    assert np.abs(last[0] - last[1]).max() > 60
