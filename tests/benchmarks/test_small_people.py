"""``benchmarks/small_people.py``: people in a grid, and how many of them boxes find."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def small_people(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not next to the tests")
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module("small_people")


def test_people_of_a_grid_lie_in_their_boxes(small_people: ModuleType, tmp_path: Path) -> None:
    photo = np.zeros((300, 200, 3), np.uint8)
    photo[50:250, 40:140] = 255
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    good = {"id": 1, "image_id": 1, "bbox": [40, 50, 100, 200], "iscrowd": 0, "num_keypoints": 12}
    entries = [good, good | {"bbox": [0, 0, 20, 40]}, good | {"num_keypoints": 3}]
    document = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": entries}
    (tmp_path / "people.json").write_text(json.dumps(document))
    people = small_people.labeled_people(tmp_path / "people.json", tmp_path)
    assert [person.shape for person in people] == [(200, 100, 3)]
    image, boxes = small_people.grid_of(people)
    assert image.shape == (1080, 1920, 3)
    assert len(boxes) == 260
    assert ((boxes[:, 3] - boxes[:, 1]) == 60).all()
    assert boxes.max(axis=0)[2] <= 1920
    assert boxes.max(axis=0)[3] <= 1080
    assert (image == 255).all(axis=2).sum() == 260 * 60 * 30
    shifted = boxes + np.array([10, 0, 10, 0], np.float32)  # IoU 20 / 40
    counts = small_people.found(boxes, np.concatenate([boxes[:100], shifted[100:200]]))
    assert counts == {"IoU over 0.5": 100, "IoU over 0.3": 200}
