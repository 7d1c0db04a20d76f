"""The split of annotations, and the AP that is measured on one part."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from slimpose.export.quantization import samples
from slimpose.formats import coco
from slimpose.runtime.session import Session
from synthetic_models import CANVAS, HALF_BOX, dot_image, write_detector_model


def test_no_person_is_used_for_both_calibration_and_measurement(folder: Path) -> None:
    people = coco.read(folder / "images" / "people.json", keypoints=True)
    parts = samples.split(people, task="pose", calibration_people=5, measured_people=7)
    assert [len(part.images) for part in parts] == [5, 7]
    assert not set(parts[0].images) & set(parts[1].images)
    assert all(person.image_id in part.images for part in parts for person in part.people)


def test_a_detector_is_measured_on_whole_images_by_its_boxes(tmp_path: Path) -> None:
    """One dot per image, boxed as the detector does: AP is 100. A crowd does not count."""
    session = Session(write_detector_model(tmp_path / "detector.onnx"), threads=1)
    x, y = HALF_BOX
    images, people = [], []
    size = {"height": CANVAS.height, "width": CANVAS.width}
    for number, dot in enumerate(((40, 40), (50, 44), (44, 60)), start=1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), dot_image(CANVAS, *dot))
        images.append({"id": number, "file_name": f"{number}.png", **size})
        box = [dot[0] - 1 - x, dot[1] - 1 - y, 2 * x, 2 * y]
        person = {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 1536}
        people.append({**person, "iscrowd": int(number == 3)})
    categories = [{"id": 1, "name": "person"}]
    (tmp_path / "boxes.json").write_text(
        json.dumps({"images": images, "annotations": people, "categories": categories})
    )
    annotations = coco.read(tmp_path / "boxes.json", keypoints=False)
    assert samples.people_counts(annotations, task="detect") == {1: 1, 2: 1}
    parts = samples.split(annotations, task="detect", calibration_people=9, measured_people=9)
    assert sorted(image_id for part in parts for image_id in part.images) == [1, 2]
    inputs = samples.model_inputs(annotations, tmp_path, session.info)
    assert inputs.shape == (3, *CANVAS, 3)
    assert samples.average_precision(session, parts[0], tmp_path) == pytest.approx(100, abs=0.5)
