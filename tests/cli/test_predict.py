from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import slimpose
from run_cli import (
    TEXT_OUTPUTS,
    Capture,
    all_files,
    csv_rows,
    in_work_folder,
    json_lines,
    records_of,
    write_dot,
    write_dot_video,
)
from run_main import run_main
from slimpose.arrays import Size
from slimpose.media.images import read_image
from slimpose.runtime.pipeline import Pipeline
from synthetic_models import dot_image

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"

Predict = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """``slimpose predict`` in an empty folder with synthetic models; returns the exit code."""
    return in_work_folder("predict", tmp_path, monkeypatch)


def test_images_are_drawn_written_and_summarized(predict: Predict, capsys: Capture) -> None:
    assert predict(PHOTOS, "--json", "poses.json") == 0
    photos = sorted(photo.name for photo in PHOTOS.glob("*.jpg"))
    assert all_files("out") == photos
    for photo in photos:
        assert read_image(Path("out") / photo).shape == read_image(PHOTOS / photo).shape
    records = records_of()
    assert {record["file_name"] for record in records} <= set(photos)
    summary = capsys.readouterr().out
    assert f"5 images, {len(records)} people" in summary
    assert "synthetic-detect + synthetic-pose, 1 CPU thread" in summary
    assert "median ms per frame: read " in summary
    for stage in ("detect", "pose", "draw and write"):
        assert f", {stage} " in summary


def test_record_holds_box_keypoints_and_score(predict: Predict) -> None:
    write_dot("dot.png", 50, 40)
    assert predict("dot.png", "--json", "poses.json") == 0
    (record,) = records_of()
    assert list(record) == ["file_name", "frame", "category_id", "bbox", "keypoints", "score"]
    assert (record["file_name"], record["frame"], record["category_id"]) == ("dot.png", 0, 1)
    np.testing.assert_allclose(record["bbox"], [33, 15, 32, 48], atol=1.5)
    keypoints = np.array(record["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(keypoints[0], [50, 40, 1], atol=1.5)
    assert record["score"] == pytest.approx(0.9, abs=1e-3)


def test_records_are_in_the_order_of_the_inputs(predict: Predict) -> None:
    names = ["c.png", "a.png", "b.png"]
    for name in names:
        write_dot(name)
    assert predict(*names, "--json", "poses.json") == 0
    assert [record["file_name"] for record in records_of()] == names


def test_file_named_twice_is_processed_once(predict: Predict) -> None:
    write_dot("folder/a.png")
    sources = ["folder/a.png", "folder", "./folder/../folder/a.png"]
    assert predict(*sources, "--json", "poses.json") == 0
    assert len(records_of()) == 1


def test_files_of_one_name_from_two_folders_get_distinct_names(predict: Predict) -> None:
    write_dot("one/a.png")
    write_dot("two/a.png")
    write_dot("two/a.jpg")
    write_dot("two/a.webp")
    assert predict("one", "two", "--json", "poses.json") == 0
    assert all_files("out") == ["a-2.jpg", "a-2.png", "a.jpg", "a.png"]
    names = [record["file_name"] for record in records_of()]
    assert names == ["one/a.png", "a.jpg", "two/a.png", "a.webp"]


def test_input_is_never_overwritten(predict: Predict) -> None:
    file = write_dot("out/a.png")
    before = file.read_bytes()
    assert predict("out/a.png") == 0
    assert file.read_bytes() == before
    assert all_files("out") == ["a.png", "a.pose.png"]
    assert predict("out/a.png", "--json", "out/a.png") == 2
    assert file.read_bytes() == before


def test_other_images_are_only_overwritten_on_request(predict: Predict, capsys: Capture) -> None:
    kept = [write_dot(name) for name in ("in/a.jpg", "in/a-2.jpg", "in/a.pose.jpg", "out/a-2.jpg")]
    before = [file.read_bytes() for file in kept]
    write_dot("one/a.jpg")
    Path("link.jpg").symlink_to("in/a.jpg")
    assert predict("in/a.jpg", "--out", "in") == 0
    assert predict("link.jpg", "--out", "in") == 0
    assert predict("in/a.jpg", "one/a.jpg") == 0
    assert [file.read_bytes() for file in kept] == before
    assert all_files("in") == ["a-2.jpg", "a.jpg", "a.pose-2.jpg", "a.pose.jpg", "link.pose.jpg"]
    assert all_files("out") == ["a-2.jpg", "a-3.jpg", "a.jpg"]
    capsys.readouterr()
    first = Path("out/a.jpg").read_bytes()
    write_dot("one/a.jpg", 20, 60)
    assert predict("one/a.jpg") == 0  # drawings of an earlier run are kept
    assert all_files("out") == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg"]
    assert "NOTE: 1 drawing got a number added to the name, as a file" in capsys.readouterr().out
    assert Path("out/a.jpg").read_bytes() == first
    assert predict("one/a.jpg", "--overwrite") == 0  # or replaced
    assert all_files("out") == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg"]
    assert Path("out/a.jpg").read_bytes() == Path("out/a-4.jpg").read_bytes() != first
    assert predict("in/a.jpg", "--out", "in", "--overwrite") == 0
    assert [file.read_bytes() for file in kept[:2]] == before[:2]
    assert kept[2].read_bytes() != before[2]  # in/a.pose.jpg
    assert len(all_files("in")) == 5


def test_name_that_is_not_utf8_is_written_escaped(predict: Predict) -> None:
    write_dot("a.png").rename(os.fsdecode(b"bad\xff.png"))
    write_dot("z.png")
    assert predict(os.fsdecode(b"bad\xff.png"), "z.png", *TEXT_OUTPUTS) == 0
    name = os.fsdecode(b"bad\xff.png")
    assert [record["file_name"] for record in records_of("p.json")] == [name, "z.png"]
    lines = json_lines(Path("p.jsonl").read_text())
    assert [line["source"] for line in lines] == [name, "z.png"]
    sources = [row["source"] for row in csv_rows(Path("p.csv"))]
    assert list(dict.fromkeys(sources)) == [r"bad\udcff.png", "z.png"]
    assert len(all_files("op")) == 2
    assert predict(name, "--no-draw", "--boxes", "p.json") == 0  # still found by its name


def test_results_of_numbered_images_are_coco_results(predict: Predict) -> None:
    from pycocotools.coco import COCO

    write_dot("000000000139.png")
    write_dot_video("7.mp4", 1)
    assert predict("000000000139.png", "--json", "poses.json") == 0
    (record,) = records_of()
    assert list(record)[:2] == ["file_name", "image_id"]
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": 139}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    coco.createIndex()
    assert len(coco.loadRes("poses.json").getAnnIds(imgIds=[139])) == 1
    assert predict("7.mp4", "--json", "video.json", "--no-track") == 0
    assert "image_id" not in records_of("video.json")[0]


def test_video_is_drawn_as_a_video_with_numbered_frames(predict: Predict) -> None:
    write_dot_video("walk.avi", 6, codec="MJPG")
    assert predict("walk.avi", "--json", "poses.json") == 0
    assert all_files("out") == ["walk.mp4"]
    written = cv2.VideoCapture("out/walk.mp4")
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert [record["frame"] for record in records_of()] == list(range(6))


def test_truncated_video_is_reported_and_its_frames_kept(predict: Predict, capsys: Capture) -> None:
    path = write_dot_video("half.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert predict("half.avi", "--json", "poses.json", "--no-track") == 2
    frames = len(records_of())
    assert 5 < frames < 38
    assert cv2.VideoCapture("out/half.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == frames
    err = capsys.readouterr().err
    assert f"half.avi: the video ends after {frames} of 40 frames" in err
    assert "inputs failed" not in err


def bad_jpeg() -> bytes:
    data = (PHOTOS / "000000544444.jpg").read_bytes()
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing.jpg", None, "no such file or folder"),
        ("empty.jpg", b"", "the file is empty (0 bytes)"),
        ("half.jpg", bad_jpeg(), "the image is truncated"),
        ("notes.jpg", b"hello " * 50, "not an image OpenCV can decode"),
        ("notes.txt", b"hello " * 50, "neither an image nor a video"),
        ("notes.mp4", b"hello " * 50, "no frame of a video can be read"),
        ("*.gif", None, "no file matches this pattern"),
    ],
)
def test_bad_input_is_reported_in_one_line_and_the_others_are_processed(
    predict: Predict, capfd: Capture, name: str, data: bytes | None, message: str
) -> None:
    write_dot("a.png")
    write_dot("z.png")
    if data is not None:
        Path(name).write_bytes(data)
    assert predict("a.png", name, "z.png", "--json", "poses.json") == 2
    assert [record["file_name"] for record in records_of()] == ["a.png", "z.png"]
    assert all_files("out") == ["a.png", "z.png"]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"slimpose: {name}: {message}")
    assert lines[1:] == ["slimpose: 1 of 3 inputs failed:", f"  {name}"]


def test_only_an_unreadable_input_gives_one_line(predict: Predict, capfd: Capture) -> None:
    Path("half.jpg").write_bytes(bad_jpeg())
    assert predict("half.jpg") == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_damaged_image_is_reported_by_name_without_its_decoders_line(
    predict: Predict, capfd: Capture
) -> None:
    data = (PHOTOS / "000000544444.jpg").read_bytes()
    Path("bad.jpg").write_bytes(data[:30_000] + bytes(60) + data[30_060:])
    write_dot("a.png")
    assert predict("bad.jpg", "a.png") == 2
    (line, *_) = capfd.readouterr().err.splitlines()
    assert line.startswith("slimpose: bad.jpg: the image is damaged: ")


def test_pages_are_drawn_and_written_one_by_one(predict: Predict) -> None:
    pages = [dot_image(Size(96, 96), 50, 40 + 4 * number) for number in range(3)]
    assert cv2.imwritemulti("000000000139.tif", pages)
    assert predict("000000000139.tif", "--json", "poses.json", "--openpose", "op") == 0
    assert all_files("out") == [f"000000000139.page-{number}.png" for number in (1, 2, 3)]
    records = records_of()
    assert [record["frame"] for record in records] == [0, 1, 2]
    assert not any("track_id" in record or "image_id" in record for record in records)
    assert len(all_files("op")) == 3


LONG = "é" * 125  # of 255 bytes that a name may have


def test_longest_names_lose_no_output(predict: Predict) -> None:
    names = [f"{LONG}.mp4", f"{LONG}.ts", f"{LONG}.png"]
    write_dot_video("walk.mp4", 3).rename(names[0])
    write_dot_video("walk.ts", 3).rename(names[1])
    write_dot(names[2])
    assert predict(*names, "--json", f"{'j' * 250}.json", "--openpose", "op") == 0
    assert [record["file_name"] for record in records_of(f"{'j' * 250}.json")] == [
        *[names[0]] * 3,
        *[names[1]] * 3,
        names[2],
    ]
    assert len(all_files("out")) == 3
    assert len(all_files("op")) == 7


def test_folder_in_place_of_a_drawing_is_reported_by_its_name(
    predict: Predict, capsys: Capture
) -> None:
    write_dot("a.png")
    Path("out/a.png").mkdir(parents=True)
    assert predict("a.png", "--json", "poses.json") == 1
    assert capsys.readouterr().err == "slimpose: a.png: cannot write out/a.png: it is a folder\n"
    assert all_files() == ["a.png"]


def test_control_characters_of_names_are_escaped(predict: Predict, capsys: Capture) -> None:
    Path("a\x1b[31m\n:smile:.jpg").write_bytes(b"no image")
    assert predict("a\x1b[31m\n:smile:.jpg") == 2
    line = r"slimpose: a\x1b[31m\n:smile:.jpg: not an image OpenCV can decode"
    assert capsys.readouterr().err.startswith(line)


def test_folder_without_images_is_reported(predict: Predict, capsys: Capture) -> None:
    Path("bare").mkdir()
    assert predict("bare") == 2
    assert "bare: no image or video in this folder" in capsys.readouterr().err


def test_without_inputs_no_file_is_opened_or_created(predict: Predict, capsys: Capture) -> None:
    assert predict("missing.jpg", "--json", "poses.json", "--model", "missing.onnx") == 2
    assert not any(Path().iterdir())
    assert capsys.readouterr().err == "slimpose: missing.jpg: no such file or folder\n"
    assert predict("missing.jpg", "gone.jpg") == 2
    assert capsys.readouterr().err.endswith(
        "slimpose: 2 of 2 inputs failed:\n  missing.jpg\n  gone.jpg\n"
    )


def test_without_readable_inputs_no_json_is_written(predict: Predict) -> None:
    Path("empty.jpg").touch()
    assert predict("empty.jpg", "--json", "poses.json") == 2
    assert all_files() == ["empty.jpg"]


@pytest.mark.parametrize(
    "image",
    [
        np.full((1, 1, 3), 255, np.uint8),
        np.full((2, 300, 3), 255, np.uint8),
        np.full((60, 80), 0, np.uint8),
        np.full((60, 80, 3), 0, np.uint16),
        np.full((60, 80, 4), 0, np.uint8),
    ],
    ids=["one pixel", "two rows", "gray", "16 bits", "transparent"],
)
def test_images_without_people_have_no_records(predict: Predict, image: np.ndarray) -> None:
    cv2.imwrite("odd.png", image)
    assert predict("odd.png", "--json", "poses.json") == 0
    assert records_of() == []
    assert read_image(Path("out/odd.png")).shape == (*image.shape[:2], 3)


def test_image_of_100_megapixels_is_processed(predict: Predict) -> None:
    image = np.zeros((10_000, 10_000), np.uint8)
    cv2.circle(image, (5200, 4100), 150, 255, cv2.FILLED)
    cv2.imwrite("large.jpg", image)
    assert predict("large.jpg", "--no-draw", "--json", "poses.json") == 0
    (record,) = records_of()
    np.testing.assert_allclose(record["keypoints"][:2], [5200, 4100], atol=250)
    assert not Path("out").exists()


# Options.


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "missing SOURCE ..."),
        (
            ["a.png", "--model", "mnv9"],
            2,
            "no model is named 'mnv9'; expected one of detector, hr",
        ),
        (["a.png", "--model", "detector"], 2, "is a detect model; expected a pose model"),
        (["a.png", "--detector", "hr"], 2, "is a pose model; expected a person detector"),
        (["a.png", "--model", "missing.onnx"], 2, "no model file missing.onnx"),
        (["a.png", "--boxes", "missing.json"], 2, "no box file missing.json"),
        (
            ["a.png", "--boxes", "b.json", "--detector", "x.onnx"],
            2,
            "--boxes are used instead of a detector",
        ),
        (
            ["a.png", "--openpose-order", "COCO_18"],
            2,
            "--openpose-order COCO_18 is about --openpose; expected both",
        ),
        (["a.png", "--csv", "-"], 2, "--csv is -; expected a file (--jsonl - is standard output)"),
        (["a.png", "--conf", "2"], 2, "--conf is 2; expected a number 0..1"),
        (["a.png", "--out", "a.png"], 2, "--out a.png is a file; expected a folder"),
        (["a.png", "--json", "."], 2, "--json . is a folder"),
        (["a.png", "--json", "a.png"], 2, "would be overwritten"),
        (["a.png", "--out", "a.png/deeper"], 1, "cannot write to a.png/deeper"),
    ],
)
def test_invalid_options_are_rejected_before_anything_is_written(
    predict: Predict, capsys: Capture, args: list[str], code: int, message: str
) -> None:
    before = write_dot("a.png").read_bytes()
    assert predict(*args) == code
    assert message in capsys.readouterr().err
    assert all_files() == ["a.png"]
    assert Path("a.png").read_bytes() == before


def test_unwritable_image_gives_exit_code_1(predict: Predict, capsys: Capture) -> None:
    write_dot("a.png")
    Path("out/a.png").mkdir(parents=True)
    assert predict("a.png", "--json", "poses.json") == 1
    assert "cannot write out/a.png" in capsys.readouterr().err
    assert all_files() == ["a.png"]


def test_no_draw_writes_json_only(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--no-draw", "--json", "deep/poses.json") == 0
    assert all_files() == ["a.png", "deep/poses.json"]


def test_score_threshold_removes_people(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--conf", "0.95", "--json", "poses.json") == 0
    assert records_of() == []


def test_shipped_models_find_people_in_a_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main("predict", str(PHOTOS / "000000252219.jpg"), "--json", "poses.json") == 0
    assert len(records_of()) >= 2  # there are three
    assert Path("out/000000252219.jpg").is_file()


def test_python_and_command_line_agree(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--json", "poses.json") == 0
    poses = slimpose.load(threads=1)("a.png")
    np.testing.assert_allclose(
        np.array(records_of()[0]["keypoints"]).reshape(17, 3)[:, :2],
        poses.points_image[0],
        atol=1e-3,
    )


def test_joint_threshold_is_checked_and_only_for_drawings(
    predict: Predict, capsys: Capture
) -> None:
    write_dot("a.png")
    assert predict("a.png", "--no-draw", "--json", "p.json", "--keypoint-threshold", "0.1") == 2
    assert "--keypoint-threshold is about drawings" in capsys.readouterr().err
    assert predict("a.png", "--keypoint-threshold", "nan") == 2
    assert "--keypoint-threshold is 'nan'; expected a number" in capsys.readouterr().err
    assert predict("a.png", "--keypoint-threshold", "1.5") == 2
    assert "--keypoint-threshold is 1.5; expected a number 0..1" in capsys.readouterr().err
    assert predict("a.png", "--keypoint-threshold", "0.1") == 0
    assert "NOTE" not in capsys.readouterr().out


def test_unexpected_failure_before_the_first_frame_leaves_no_files(
    predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dot("a.png")
    before = all_files()

    def fail(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(Pipeline, "timed", fail)
    assert predict("a.png", *TEXT_OUTPUTS, "--no-draw") == 2
    assert all_files() == before
