from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from lint_graphs import Sketch
from slimpose import geometry
from slimpose.arrays import Size
from slimpose.formats import coco
from slimpose.media.images import read_image
from slimpose.runtime import models
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.crops import fit_canvas
from slimpose.train.box_distillation import decode_yolox, open_box_teacher, pseudo_labels

SHARED = Path(__file__).parents[3] / "shared"


def test_yolox_boxes_are_decoded_in_pixel_centers() -> None:
    outputs = np.zeros((1, 64 + 16 + 4, 6), np.float32)  # 64x64 pixels: 8x8, 4x4, 2x2 cells
    outputs[0, 8 + 2, :4] = 0.5, 0.25, np.log(2), np.log(4)  # stride 8, row 1, column 2
    outputs[0, 64 + 16 + 3, :4] = -0.5, 0, 0, 0  # stride 32, row 1, column 1
    boxes = decode_yolox(outputs, Size(64, 64))
    # Edges at 20 -+ 8 and 10 -+ 16; a pixel's center lies half a pixel behind its edge.
    np.testing.assert_allclose(boxes[0, 10], [11.5, -6.5, 27.5, 25.5], atol=1e-4)
    np.testing.assert_allclose(boxes[0, -1], [-0.5, 15.5, 31.5, 47.5], atol=1e-4)


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
    monkeypatch.setattr("slimpose.train.inference.supported_precisions", lambda core: offered)
    teacher = open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))
    assert teacher.runs_on == runs_on
    boxes, scores = teacher.detect(np.zeros((2, 64, 64, 3), np.uint8))
    assert (boxes.shape, scores.shape) == ((2, 21, 4), (2, 21))


def test_without_openvino_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="OpenVINO is not installed: pip install"):
        open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))


def test_invalid_yolox_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher"):
        open_box_teacher(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(
        ValueError, match=re.escape(f"{tmp_path / 'text.onnx'} is not a detector's ONNX file")
    ):
        open_box_teacher(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"expected YOLOX's|is not a detector's ONNX file"):
        open_box_teacher(models.resolve("mnv2"))


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
