"""``predict`` with person boxes from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from run_cli import Capture, all_files, in_work_folder, records_of, write_dot, write_dot_video

Predict = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """``slimpose predict`` in an empty folder with synthetic models; returns the exit code."""
    return in_work_folder("predict", tmp_path, monkeypatch)


def write_boxes(document: object) -> None:
    Path("boxes.json").write_text(json.dumps(document))


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
    predict: Predict, capsys: Capture, document: object
) -> None:
    write_dot("a.png")
    write_dot("b.png")
    write_boxes(document)
    assert predict("a.png", "b.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    (record,) = records_of()  # no people in b.png: the file has no box for it
    missing = "slimpose: boxes.json does not mention 1 of 2 inputs; they get no people\n"
    assert capsys.readouterr().err == missing
    assert record["file_name"] == "a.png"
    assert record["bbox"] == [30, 20, 40, 40]
    assert record["score"] == (0.5 if isinstance(document, list) else 1.0)


def test_boxes_by_coco_image_id_apply_to_numbered_files(predict: Predict) -> None:
    write_dot("000000000139.png")
    write_boxes([{"image_id": 139, "bbox": [30, 20, 40, 40], "category_id": 1}])
    assert predict("000000000139.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    assert len(records_of()) == 1


def test_images_that_share_a_number_get_no_image_id(predict: Predict, capsys: Capture) -> None:
    for name in ("one/1.png", "two/0001.png", "two/7.png"):
        write_dot(name)
    assert predict("one", "two", "--no-draw", "--json", "poses.json") == 0
    assert [record.get("image_id") for record in records_of()] == [None, None, 7]
    assert "slimpose: warning: 2 inputs share their numbers" in capsys.readouterr().err


def test_boxes_of_an_image_at_another_size_fail_it(predict: Predict, capsys: Capture) -> None:
    write_dot("a.png")
    document = annotation_file()
    document["images"] = [{"id": 1, "file_name": "a.png", "height": 960, "width": 960}]
    write_boxes(document)
    assert predict("a.png", "--boxes", "boxes.json") == 2
    assert "declares a.png to be 960 wide and 960 high; the image is 96" in capsys.readouterr().err


def test_boxes_that_cannot_be_right_are_reported(predict: Predict, capsys: Capture) -> None:
    write_dot("a.png")
    write_boxes([{"file_name": "a.png", "bbox": [60, 50, 90, 90]}])
    assert predict("a.png", "--boxes", "boxes.json", "--json", "poses.json") == 0
    assert len(records_of()) == 1
    error = capsys.readouterr().err
    assert error.startswith("slimpose: warning: boxes.json: 1 of 1 boxes do not fit; expected x, y")


def test_results_of_a_video_can_be_used_as_boxes(predict: Predict) -> None:
    write_dot_video("walk.mp4", 4)
    assert predict("walk.mp4", "--no-draw", "--json", "first.json", "--no-track") == 0
    given = ["--boxes", "first.json", "--no-track"]
    assert predict("walk.mp4", "--no-draw", "--json", "second.json", *given) == 0
    first, second = records_of("first.json"), records_of("second.json")
    assert [record["frame"] for record in second] == [0, 1, 2, 3]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=0.02)


def test_people_in_given_boxes_of_a_video_have_ids(predict: Predict) -> None:
    """One for each box, from the first frame on; kept where the file leaves a frame out."""
    write_dot_video("walk.mp4", 6)
    assert predict("walk.mp4", "--no-draw", "--json", "first.json", "--no-track") == 0
    first = records_of("first.json")
    assert "track_id" not in first[0]
    write_boxes([record for record in first if record["frame"] != 3])
    given = ["--no-draw", "--boxes", "boxes.json"]
    assert predict("walk.mp4", *given, "--json", "second.json", "--no-smooth") == 0
    second = records_of("second.json")
    assert [(one["frame"], one["track_id"]) for one in second] == [
        (frame, 1) for frame in (0, 1, 2, 4, 5)
    ]
    for record in second:
        same = first[record["frame"]]
        np.testing.assert_allclose(record["keypoints"], same["keypoints"], atol=0.02)
    assert predict("walk.mp4", *given, "--json", "third.json") == 0
    third = records_of("third.json")
    assert third[-1]["track_id"] == 1
    assert third[-1]["keypoints"] != second[-1]["keypoints"]  # smoothed


def test_boxes_apply_to_the_file_in_the_same_folder(predict: Predict) -> None:
    write_dot("one/a.png")
    matching = results_list(file_name="one/a.png", bbox=[35, 25, 30, 30])
    write_boxes(results_list(file_name="two/a.png") + matching)
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
def test_invalid_box_fails_its_image_only(
    predict: Predict, capsys: Capture, bbox: list[float], message: str
) -> None:
    write_dot("a.png")
    write_dot("b.png")
    write_boxes(results_list(bbox=bbox) + results_list(file_name="b.png"))
    assert predict("a.png", "b.png", "--boxes", "boxes.json", "--json", "poses.json") == 2
    assert message in capsys.readouterr().err
    assert [record["file_name"] for record in records_of()] == ["b.png"]
    assert all_files("out") == ["b.png"]


def test_invalid_box_in_a_video_removes_its_outputs(predict: Predict) -> None:
    write_dot_video("walk.mp4", 4)
    outside = results_list(file_name="walk.mp4", frame=2, bbox=[300, 0, 9, 9])
    write_boxes(results_list(file_name="walk.mp4") + outside)
    assert predict("walk.mp4", "--boxes", "boxes.json", "--json", "poses.json") == 2
    assert all_files() == ["boxes.json", "walk.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "boxes.json is not JSON"),
        ("7", "boxes.json is a number; expected a COCO annotation file or a list of results"),
        ("{}", "boxes.json is not a COCO annotation file"),
        (
            "[[7]]",
            "boxes.json: record 0 is [7]; expected an object with bbox, and file_name or image_id",
        ),
        ("[]", "boxes.json does not mention a.png: it has no boxes"),
        (
            '[{"file_name": "b.png", "bbox": [1, 2, 3, 4]}, {"image_id": 7, "bbox": [1, 2, 3, 4]}]',
            "boxes.json does not mention a.png; it has boxes for b.png, image 7",
        ),
        (
            '[{"bbox": [1, 2, 3, 4]}]',
            "record 0 has no image_id; expected it among its fields",
        ),
        ('[{"file_name": "a.png"}]', "record 0 has no bbox; expected"),
        (
            '[{"file_name": "a.png", "bbox": [1, 2, 3]}]',
            "bbox is [1, 2, 3], 3 values; expected 4 finite numbers",
        ),
        ('[{"file_name": "a.png", "bbox": [1, 2, 3, NaN]}]', "expected 4 finite numbers"),
        (
            '[{"file_name": "a.png", "bbox": [1, 2, 3, 4], "score": 7}]',
            "score is 7; expected a finite number 0..1",
        ),
    ],
)
def test_invalid_box_file_is_rejected(
    predict: Predict, capsys: Capture, content: str, message: str
) -> None:
    write_dot("a.png")
    Path("boxes.json").write_text(content)
    assert predict("a.png", "--boxes", "boxes.json") == 2
    assert message in capsys.readouterr().err
