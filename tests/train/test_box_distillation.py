from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from foreign_models import (
    DETECTOR_SIZE,
    PERSON_BOX,
    box_outputs,
    write_outputs,
    write_simcc,
)
from lint_graphs import Sketch
from slimpose import geometry
from slimpose.arrays import Size
from slimpose.formats import coco
from slimpose.media.images import read_image
from slimpose.runtime.crops import fit_canvas
from slimpose.train.box_distillation import open_box_teacher, pseudo_labels

SHARED = Path(__file__).parents[3] / "shared"


def test_pseudo_labels_are_the_best_prediction_per_person() -> None:
    boxes = np.array([[4, 4, 18, 18], [4, 4, 19, 18], [30, 30, 34, 34], [0, 0, 2, 2]], np.float32)
    scores = np.array([0.4, 0.9, 0.5, 0.01], np.float32)
    people, confidences = pseudo_labels(boxes, scores)
    np.testing.assert_array_equal(people, boxes[[1, 2]])
    np.testing.assert_array_equal(confidences, scores[[1, 2]])


def write_yolox(path: Path) -> Path:
    """A file with YOLOX's input and output that predicts zeros: 32x32 pixels, 21 cells."""
    sketch = Sketch((1, 3, 32, 32)).conv(21 * 6, 3, (32, 32))
    onnx.save(sketch.node("Reshape", "*", sketch.constant([0, 21, 6], np.int64)).model(), path)
    return path


@pytest.mark.parametrize(
    ("offered", "runs_on"), [(("fp32",), "OpenVINO FP32"), (("fp32", "bf16"), "OpenVINO BF16")]
)
def test_box_teacher_reports_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: tuple[str, ...], runs_on: str
) -> None:
    monkeypatch.setattr(
        "slimpose.train.box_distillation.supported_precisions", lambda core: offered
    )
    teacher = open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))
    assert teacher.runs_on == runs_on
    boxes, scores = teacher.detect(np.zeros((2, 64, 64, 3), np.uint8))
    assert (boxes.shape, scores.shape) == ((2, 21, 4), (2, 21))


def test_without_openvino_the_teacher_runs_in_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    teacher = open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))
    assert teacher.runs_on == "ONNX Runtime FP32"


@pytest.mark.parametrize("kind", sorted(box_outputs()))
def test_detectors_of_other_projects_teach(tmp_path: Path, kind: str) -> None:
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, box_outputs()[kind])
    path.with_suffix(".toml").write_text(f'kind = "{kind}"\n')
    # Images of the input's shape, half as large: a box in them is half as large too.
    boxes, scores = open_box_teacher(path).detect(np.zeros((3, 48, 32, 3), np.uint8))
    expected = np.array(PERSON_BOX) / 2 - 0.25  # in pixel centers
    for image in range(3):
        people, confidences = pseudo_labels(boxes[image], scores[image])
        np.testing.assert_allclose(people, expected[None], atol=0.05)
        np.testing.assert_allclose(confidences, [0.9], atol=0.01)


def test_file_that_is_no_detector_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher"):
        open_box_teacher(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.onnx is not an ONNX file"):
        open_box_teacher(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"is a pose model; expected a person detector"):
        open_box_teacher(write_simcc(tmp_path / "pose.onnx"))


@pytest.mark.shared
def test_yolox_nano_detects_the_demo_people() -> None:
    path = SHARED / "peers" / "yolox-nano.onnx"
    if not path.is_file():
        pytest.skip("no ../shared/peers")
    photos = Path(__file__).parents[2] / "examples" / "photos"
    labels = coco.read(SHARED / "data" / "demo" / "person_keypoints.json", keypoints=False)
    teacher = open_box_teacher(path)
    detected = total = 0
    for image_id, people in labels.people_by_image().items():
        path = photos / labels.images[image_id].file_name
        if not path.is_file():
            continue
        canvas, to_canvas = fit_canvas(read_image(path), Size(320, 320))
        boxes, scores = (output[0] for output in teacher.detect(canvas[None]))
        confident = boxes[scores > 0.3].astype(np.float32)
        tall = [
            person.box_image
            for person in people
            if np.ptp(person.box_image[1::2]) > 96 and not person.is_crowd
        ]
        corners = np.array(tall, np.float32).reshape(1, -1, 2)
        truth = geometry.transform_points(to_canvas, corners).reshape(-1, 4)
        detected += int((geometry.box_iou(truth, confident) > 0.6).any(axis=1).sum())
        total += len(truth)
    assert total >= 10
    assert detected >= 0.8 * total
