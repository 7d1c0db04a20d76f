from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import slimpose
from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.media.images import read_image
from slimpose.runtime import models
from synthetic_models import dot_image, write_detector_model, write_pose_model

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"

Predict = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """``slimpose predict`` in an empty folder with synthetic weights; returns the exit code."""
    weights = tmp_path / "package"
    weights.mkdir()
    write_pose_model(weights / "mnv2.onnx")
    write_detector_model(weights / "detector.onnx")
    monkeypatch.setattr(models, "WEIGHTS", weights)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words: str | Path) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["predict", *map(str, words), "--threads", "1"])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


def write_dot(path: str, x: int = 50, y: int = 40, *, size: Size = Size(96, 96)) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(path, dot_image(size, x, y))
    return file


def write_dot_video(path: str, frames: int, *, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), 10.0, (96, 96))
    for index in range(frames):
        writer.write(dot_image(Size(96, 96), 30 + index, 40))
    writer.release()
    return Path(path)


def records_of(path: str = "poses.json") -> list[dict[str, Any]]:
    return json.loads(Path(path).read_text())


def all_files(folder: str = ".") -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )


def test_photos_are_drawn_written_and_summed_up(
    predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(PHOTOS, "--json", "poses.json") == 0
    photos = sorted(photo.name for photo in PHOTOS.glob("*.jpg"))
    assert all_files("out") == photos
    for photo in photos:
        assert read_image(Path("out") / photo).shape == read_image(PHOTOS / photo).shape
    records = records_of()
    assert {record["file_name"] for record in records} <= set(photos)
    summary = capsys.readouterr().out
    assert f"5 images, {len(records)} people" in summary
    assert "synthetic-detect + synthetic-pose, 1 CPU threads" in summary
    assert "median ms a frame: read " in summary
    for stage in ("detect", "pose", "draw and write"):
        assert f", {stage} " in summary


def test_a_record_says_who_is_where(predict: Predict) -> None:
    write_dot("dot.png", 50, 40)
    assert predict("dot.png", "--json", "poses.json") == 0
    (record,) = records_of()
    assert list(record) == ["file_name", "frame", "category_id", "bbox", "keypoints", "score"]
    assert (record["file_name"], record["frame"], record["category_id"]) == ("dot.png", 0, 1)
    np.testing.assert_allclose(record["bbox"], [33, 15, 32, 48], atol=1.5)
    keypoints = np.array(record["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(keypoints[0], [50, 40, 1], atol=1.5)
    assert record["score"] == pytest.approx(0.9, abs=1e-3)


def test_records_come_in_the_order_of_the_inputs(predict: Predict) -> None:
    names = ["c.png", "a.png", "b.png"]
    for name in names:
        write_dot(name)
    assert predict(*names, "--json", "poses.json") == 0
    assert [record["file_name"] for record in records_of()] == names


def test_the_same_file_named_twice_is_looked_at_once(predict: Predict) -> None:
    write_dot("folder/a.png")
    assert (
        predict("folder/a.png", "folder", "./folder/../folder/a.png", "--json", "poses.json") == 0
    )
    assert len(records_of()) == 1


def test_files_of_one_name_from_two_folders_are_kept_apart(predict: Predict) -> None:
    write_dot("one/a.png")
    write_dot("two/a.png")
    write_dot("two/a.jpg")
    write_dot("two/a.webp")
    assert predict("one", "two", "--json", "poses.json") == 0
    assert all_files("out") == ["a-2.jpg", "a-2.png", "a.jpg", "a.png"]
    names = [record["file_name"] for record in records_of()]
    assert names == ["one/a.png", "a.jpg", "two/a.png", "a.webp"]


def test_an_input_is_never_overwritten(predict: Predict) -> None:
    file = write_dot("out/a.png")
    before = file.read_bytes()
    assert predict("out/a.png") == 0
    assert file.read_bytes() == before
    assert all_files("out") == ["a.png", "a.pose.png"]
    assert predict("out/a.png", "--json", "out/a.png") == 2
    assert file.read_bytes() == before


def test_other_pictures_of_the_user_are_never_overwritten(predict: Predict) -> None:
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
    assert predict("one/a.jpg") == 0  # what a run before drew is replaced
    assert all_files("out") == ["a-2.jpg", "a-3.jpg", "a.jpg"]


def test_a_name_that_is_not_utf8_is_written_escaped(predict: Predict) -> None:
    write_dot("a.png").rename(os.fsdecode(b"bad\xff.png"))
    write_dot("z.png")
    written = ["--json", "p.json", "--csv", "p.csv", "--jsonl", "p.jsonl", "--openpose", "op"]
    assert predict(os.fsdecode(b"bad\xff.png"), "z.png", *written) == 0
    name = os.fsdecode(b"bad\xff.png")
    assert [record["file_name"] for record in records_of("p.json")] == [name, "z.png"]
    assert [json.loads(line)["source"] for line in Path("p.jsonl").read_text().splitlines()] == [
        name,
        "z.png",
    ]
    sources = [
        row.partition(",")[0] for row in Path("p.csv").read_text(encoding="utf-8").splitlines()
    ]
    assert list(dict.fromkeys(sources)) == ["source", r"bad\udcff.png", "z.png"]
    assert len(all_files("op")) == 2
    assert predict(name, "--no-draw", "--boxes", "p.json") == 0  # it is still found by its name


def test_results_of_pictures_called_by_their_numbers_are_coco_results(predict: Predict) -> None:
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
    assert predict("7.mp4", "--json", "film.json", "--no-track") == 0
    assert "image_id" not in records_of("film.json")[0]


def test_a_video_becomes_a_video_with_its_frames_counted(predict: Predict) -> None:
    write_dot_video("walk.avi", 6, codec="MJPG")
    assert predict("walk.avi", "--json", "poses.json") == 0
    assert all_files("out") == ["walk.mp4"]
    written = cv2.VideoCapture("out/walk.mp4")
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert [record["frame"] for record in records_of()] == list(range(6))


def test_a_video_that_breaks_off_is_kept_so_far_and_told(
    predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dot_video("half.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert predict("half.avi", "--json", "poses.json", "--no-track") == 2
    frames = len(records_of())
    assert 5 < frames < 38
    assert cv2.VideoCapture("out/half.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == frames
    told = capsys.readouterr().err
    assert f"half.avi: the video breaks off after {frames} of 40 frames" in told
    assert "inputs failed" not in told


def bad_jpeg() -> bytes:
    data = (PHOTOS / "000000544444.jpg").read_bytes()
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing.jpg", None, "no such file or folder"),
        ("empty.jpg", b"", "the file is empty (0 bytes)"),
        ("half.jpg", bad_jpeg(), "the picture is truncated"),
        ("notes.jpg", b"hello " * 50, "not a picture OpenCV can decode"),
        ("notes.txt", b"hello " * 50, "neither a picture nor a video"),
        ("notes.mp4", b"hello " * 50, "no frame of a video can be read"),
        ("*.gif", None, "no file matches this pattern"),
    ],
)
def test_a_bad_input_is_told_in_one_line_and_the_others_are_done(
    predict: Predict, capfd: pytest.CaptureFixture[str], name: str, data: bytes | None, message: str
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


def test_a_folder_without_pictures_is_told(
    predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bare").mkdir()
    assert predict("bare") == 2
    assert "bare: no picture or video in this folder" in capsys.readouterr().err


def test_when_there_is_nothing_to_look_at_nothing_is_opened_or_made(
    predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("missing.jpg", "--json", "poses.json", "--model", "missing.onnx") == 2
    assert not any(Path().iterdir())
    assert capsys.readouterr().err == "slimpose: missing.jpg: no such file or folder\n"
    assert predict("missing.jpg", "0") == 2
    assert capsys.readouterr().err.endswith("slimpose: 2 of 2 inputs failed:\n  missing.jpg\n  0\n")


def test_when_nothing_could_be_read_no_json_is_written(predict: Predict) -> None:
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
def test_pictures_with_nobody_are_fine(predict: Predict, image: np.ndarray) -> None:
    cv2.imwrite("odd.png", image)
    assert predict("odd.png", "--json", "poses.json") == 0
    assert records_of() == []
    assert read_image(Path("out/odd.png")).shape == (*image.shape[:2], 3)


def test_a_hundred_megapixels_are_looked_at(predict: Predict) -> None:
    image = np.zeros((10_000, 10_000), np.uint8)
    cv2.circle(image, (5200, 4100), 150, 255, cv2.FILLED)
    cv2.imwrite("large.jpg", image)
    assert predict("large.jpg", "--no-draw", "--json", "poses.json") == 0
    (record,) = records_of()
    np.testing.assert_allclose(record["keypoints"][:2], [5200, 4100], atol=250)
    assert not Path("out").exists()


# Boxes that the user brings.


def results_list(**changes: object) -> list[dict[str, object]]:
    return [{"file_name": "a.png", "bbox": [30, 20, 40, 40], "score": 0.5, **changes}]


def annotation_file() -> dict[str, object]:
    return {
        "images": [{"id": 1, "file_name": "folder/a.png", "height": 96, "width": 96}],
        "annotations": [
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [30, 20, 40, 40], "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


@pytest.mark.parametrize(
    "document", [results_list(), annotation_file()], ids=["results", "annotations"]
)
def test_given_boxes_replace_the_detector(
    predict: Predict, capsys: pytest.CaptureFixture[str], document: object
) -> None:
    write_dot("a.png")
    write_dot("b.png")
    Path("boxes.json").write_text(json.dumps(document))
    assert predict("a.png", "b.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    (record,) = records_of()  # nobody in b.png: the file has no box for it
    assert (
        capsys.readouterr().err
        == "slimpose: boxes.json does not mention 1 of 2 inputs; nobody is found there\n"
    )
    assert record["file_name"] == "a.png"
    assert record["bbox"] == [30, 20, 40, 40]
    assert record["score"] == (0.5 if isinstance(document, list) else 1.0)


def test_boxes_by_coco_image_id_are_found_by_the_files_number(predict: Predict) -> None:
    write_dot("000000000139.png")
    Path("boxes.json").write_text(
        json.dumps([{"image_id": 139, "bbox": [30, 20, 40, 40], "category_id": 1}])
    )
    assert predict("000000000139.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    assert len(records_of()) == 1


def test_what_predict_wrote_of_a_video_serves_as_boxes(predict: Predict) -> None:
    write_dot_video("walk.mp4", 4)
    assert predict("walk.mp4", "--no-draw", "--json", "first.json", "--no-track") == 0
    assert predict("walk.mp4", "--no-draw", "--json", "second.json", "--boxes", "first.json") == 0
    first, second = records_of("first.json"), records_of("second.json")
    assert [record["frame"] for record in second] == [0, 1, 2, 3]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=0.02)


def test_boxes_of_two_folders_go_to_the_file_that_shares_the_folder(predict: Predict) -> None:
    write_dot("one/a.png")
    Path("boxes.json").write_text(
        json.dumps(
            results_list(file_name="two/a.png")
            + results_list(file_name="one/a.png", bbox=[35, 25, 30, 30])
        )
    )
    assert predict("one/a.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    assert [record["bbox"] for record in records_of()] == [[35, 25, 30, 30]]


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ([30, 20, 0, 40], "a.png: box has no area: x1=30 y1=20 x2=30 y2=60"),
        ([30, 20, -5, 40], "a.png: box has no area"),
        ([200, 20, 40, 40], "a.png: box lies outside the image: x1=200"),
    ],
)
def test_a_box_that_does_not_fit_fails_its_picture_alone(
    predict: Predict, capsys: pytest.CaptureFixture[str], bbox: list[float], message: str
) -> None:
    write_dot("a.png")
    write_dot("b.png")
    Path("boxes.json").write_text(
        json.dumps(results_list(bbox=bbox) + results_list(file_name="b.png"))
    )
    assert predict("a.png", "b.png", "--boxes", "boxes.json", "--json", "poses.json") == 2
    assert message in capsys.readouterr().err
    assert [record["file_name"] for record in records_of()] == ["b.png"]
    assert all_files("out") == ["b.png"]


def test_a_bad_box_in_the_middle_of_a_video_leaves_nothing_half_written(predict: Predict) -> None:
    write_dot_video("walk.mp4", 4)
    boxes = results_list(file_name="walk.mp4") + results_list(
        file_name="walk.mp4", frame=2, bbox=[300, 0, 9, 9]
    )
    Path("boxes.json").write_text(json.dumps(boxes))
    assert predict("walk.mp4", "--boxes", "boxes.json", "--json", "poses.json") == 2
    assert all_files() == ["boxes.json", "walk.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "boxes.json is not JSON"),
        ("7", "boxes.json is a JSON int; expected a COCO annotation file or a list of results"),
        ("{}", "boxes.json is not a COCO annotation file"),
        (
            "[[7]]",
            "boxes.json: record 0 is a list; expected an object with bbox, and file_name or image_id",
        ),
        ("[]", "boxes.json does not mention a.png: it has no boxes"),
        (
            '[{"file_name": "b.png", "bbox": [1, 2, 3, 4]}, {"image_id": 7, "bbox": [1, 2, 3, 4]}]',
            "boxes.json does not mention a.png; it has boxes for b.png, image 7",
        ),
        (
            '[{"bbox": [1, 2, 3, 4]}]',
            "record 0 lacks 'image_id'; expected bbox, and file_name or image_id",
        ),
        ('[{"file_name": "a.png"}]', "record 0 lacks 'bbox'"),
        ('[{"file_name": "a.png", "bbox": [1, 2, 3]}]', "bbox is [1, 2, 3]; expected 4 numbers"),
        ('[{"file_name": "a.png", "bbox": [1, 2, 3, NaN]}]', "expected finite numbers"),
        (
            '[{"file_name": "a.png", "bbox": [1, 2, 3, 4], "score": 7}]',
            "score is 7; expected a number 0..1",
        ),
    ],
)
def test_a_broken_boxes_file_is_told(
    predict: Predict, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    write_dot("a.png")
    Path("boxes.json").write_text(content)
    assert predict("a.png", "--boxes", "boxes.json") == 2
    assert message in capsys.readouterr().err


# Options.


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "nothing to look at"),
        (
            ["a.png", "--model", "mnv9"],
            2,
            "no model is named 'mnv9'; expected one of detector, mnv2",
        ),
        (["a.png", "--model", "detector"], 2, "is a detect model; expected a pose model"),
        (["a.png", "--detector", "mnv2"], 2, "is a pose model; expected a person detector"),
        (["a.png", "--model", "missing.onnx"], 2, "no model file missing.onnx"),
        (["a.png", "--boxes", "missing.json"], 2, "no box file missing.json"),
        (
            ["a.png", "--boxes", "b.json", "--detector", "x.onnx"],
            2,
            "--boxes are looked at instead of a detector's",
        ),
        (
            ["a.png", "--openpose-order", "COCO_18"],
            2,
            "--openpose-order COCO_18 is about --openpose; expected both",
        ),
        (["a.png", "--csv", "-"], 2, "--csv is -; expected a file (--jsonl - is standard output)"),
        (["a.png", "--score-threshold", "2"], 2, "--score-threshold is 2; expected a number 0..1"),
        (["a.png", "--out", "a.png"], 2, "--out a.png is a file; expected a folder"),
        (["a.png", "--json", "."], 2, "--json . is a folder"),
        (["a.png", "--json", "a.png"], 2, "would be overwritten"),
        (["a.png", "--out", "a.png/deeper"], 1, "cannot write to a.png/deeper"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    predict: Predict, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    before = write_dot("a.png").read_bytes()
    assert predict(*words) == code
    assert message in capsys.readouterr().err
    assert all_files() == ["a.png"]
    assert Path("a.png").read_bytes() == before


def test_a_picture_that_cannot_be_written_ends_the_call_with_1(
    predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dot("a.png")
    Path("out/a.png").mkdir(parents=True)
    assert predict("a.png", "--json", "poses.json") == 1
    assert "cannot write out/a.png" in capsys.readouterr().err
    assert all_files() == ["a.png"]


def test_without_drawing_only_the_json_is_written(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--no-draw", "--json", "deep/poses.json") == 0
    assert all_files() == ["a.png", "deep/poses.json"]


def test_a_higher_threshold_finds_fewer(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--score-threshold", "0.95", "--json", "poses.json") == 0
    assert records_of() == []


def test_the_shipped_weights_find_people_in_the_street(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(PHOTOS / "000000252219.jpg"), "--json", "poses.json"])
    assert ended.value.code == 0
    assert len(records_of()) >= 2  # three stand and walk there
    assert Path("out/000000252219.jpg").is_file()


def test_load_and_predict_agree(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--json", "poses.json") == 0
    poses = slimpose.load(threads=1)("a.png")
    np.testing.assert_allclose(
        np.array(records_of()[0]["keypoints"]).reshape(17, 3)[:, :2],
        poses.points_image[0],
        atol=1e-3,
    )
