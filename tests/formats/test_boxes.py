"""Files of boxes: which boxes belong to which file, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from coco_documents import coco_document
from slimpose.arrays import Size
from slimpose.formats import boxes

SIZE = Size(48, 64)


def read(folder: Path, document: object) -> boxes.BoxFile:
    path = folder / "boxes.json"
    path.write_text(json.dumps(document))
    return boxes.read(path)


def record(**fields: Any) -> dict[str, Any]:
    return {"bbox": [1, 2, 3, 4], "file_name": "a.png"} | fields


def test_backslashes_of_annotations_are_slashes(tmp_path: Path) -> None:
    document = coco_document()
    document["images"][0]["file_name"] = "sub\\street.png"
    file = read(tmp_path, document)
    assert len(file.lookup(Path("sub/street.png"), 0, SIZE)[0]) == 1


def test_declared_size_is_compared(tmp_path: Path) -> None:
    file = read(tmp_path, coco_document())
    assert len(file.lookup(Path("street.png"), 0, SIZE)[1]) == 1
    with pytest.raises(ValueError, match=r"declares street\.png to be 64 wide and 48 high; the im"):
        file.lookup(Path("street.png"), 0, Size(64, 48))


def test_areas_are_not_needed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    document = coco_document()
    document["annotations"][0]["area"] = float("nan")
    assert len(read(tmp_path, document).lookup(Path("street.png"), 0, SIZE)[0]) == 1
    assert not recwarn.list


@pytest.mark.parametrize(
    ("records", "files"),
    [
        ([record(file_name="1.png")], ["a/1.png", "b/1.png"]),
        ([{"bbox": [1, 2, 3, 4], "image_id": 1}], ["a/1.jpg", "b/0001.jpg"]),
    ],
)
def test_entry_that_may_be_of_two_files_is_rejected(
    tmp_path: Path, records: list[dict[str, Any]], files: list[str]
) -> None:
    with pytest.raises(ValueError, match=f"which may be {files[0]} or {files[1]}; expected"):
        read(tmp_path, records).files_without_boxes([Path(file) for file in files])


def test_entry_belongs_to_the_file_in_its_folder(tmp_path: Path) -> None:
    file = read(tmp_path, [record(file_name="a/1.png")])
    inputs = [Path("a/1.png"), Path("b/1.png")]
    assert file.files_without_boxes(inputs) == 1
    assert [len(file.lookup(path, 0, SIZE)[0]) for path in inputs] == [1, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([3], "record 0 is 3; expected an object with bbox, and file_name or image_id"),
        (record(bbox=None), "record 0: bbox is None; expected 4 finite numbers: x, y, width"),
        (record(bbox=[3e38, 0, 3e38, 1]), "bbox is [3e+38, 0, 3e+38, 1]; expected"),
        (record(score=2), "record 0: score is 2; expected a finite number 0..1"),
        (record(score="high"), "record 0: score is 'high'; expected"),
        (record(frame=-1), "record 0: frame is -1; expected an integer of 0 or more"),
        (record(category_id="person"), "record 0: category_id is 'person'; expected an integer"),
        (
            [record(category_id=7), record(category_id=8)],
            "the records have category_id 7, 8; expected 1, one category only, or no category_id",
        ),
        (record(file_name=4), "record 0: file_name is 4; expected text"),
        (
            {"bbox": [1, 2, 3, 4]},
            "record 0 has no image_id; expected it among its fields, ['bbox']",
        ),
    ],
)
def test_invalid_record_is_rejected_by_its_place(
    tmp_path: Path, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(tmp_path, value if isinstance(value, list) else [value])
    assert str(tmp_path) in str(caught.value)


def test_only_category_is_taken_whatever_its_number(tmp_path: Path) -> None:
    """A detector of own objects has their category."""
    file = read(tmp_path, [record(category_id=7), record(category_id=7)])
    assert len(file.lookup(Path("a.png"), 0, SIZE)[0]) == 2
    mixed = read(tmp_path, [record(category_id=1), record(category_id=7), record()])
    assert len(mixed.lookup(Path("a.png"), 0, SIZE)[0]) == 2


def test_category_of_results_may_be_text(tmp_path: Path) -> None:
    file = read(tmp_path, [record(category_id="1")])
    assert len(file.lookup(Path("a.png"), 0, SIZE)[0]) == 1


@pytest.mark.parametrize(
    "bbox",
    [
        [40, 30, 60, 44],  # x1, y1, x2, y2
        [0.6, 0.6, 0.3, 0.3],  # normalized
    ],
)
def test_boxes_in_another_format_are_reported(tmp_path: Path, bbox: list[float]) -> None:
    right = [record(file_name=f"{number}.png") for number in range(8)]
    wrong = [record(file_name=f"{number}.png", bbox=bbox) for number in (8, 9)]
    file = read(tmp_path, right + wrong)
    for number in range(8):
        file.lookup(Path(f"{number}.png"), 0, SIZE)
    assert file.doubt() == ""
    for number in (8, 9):
        file.lookup(Path(f"{number}.png"), 0, SIZE)
    assert "2 of 10 boxes do not fit; expected x, y, width, height in pixels" in file.doubt()
