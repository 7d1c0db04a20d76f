"""Files whose outputs have the shapes of another kind are not read as that kind in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from foreign_models import (
    DETECTOR_SIZE,
    PERSON_BOX,
    box_outputs,
    people_outputs,
    write_outputs,
    write_simcc,
)
from slimpose import geometry
from slimpose.arrays import Size
from slimpose.runtime.detector import Detector
from slimpose.runtime.foreign import trial
from slimpose.runtime.foreign.graph import remember
from slimpose.runtime.foreign.settings import ModelSettings
from slimpose.runtime.session import Session

SIZE = Size(256, 192)
CELLS = 32 * 24 + 16 * 12 + 8 * 6
CENTER, SIDES = (trial._BOX[0, :2] + trial._BOX[0, 2:]) / 2, trial._BOX[0, 2:] - trial._BOX[0, :2]


def zeros(*shape: int) -> np.ndarray:
    return np.zeros((1, *shape), np.float32)


def person_in_input() -> np.ndarray:
    """Return x, y, w, h of the person of the sample photo in the input of these models."""
    photo = trial.sample_photo()
    assert photo is not None
    scale = min(SIZE.height / photo.shape[0], SIZE.width / photo.shape[1])
    return np.concatenate([CENTER, SIDES]) * scale


def rows(columns: int, count: int, *values: float, logits: bool = False) -> np.ndarray:
    """Return rows (1, count, columns), of which one has the person's x, y, w, h and the values."""
    found = zeros(count, columns)
    if logits:
        found[..., 4:] = -6.0
    found[0, 7] = np.resize([*person_in_input(), *values], columns)
    return found


LOOKALIKES = {
    "YOLOv5 of one class, 3 anchors per cell": ({"o": rows(6, 3 * CELLS, 0.9, 0.95)}, None),
    "YOLOv7-pose": ({"o": rows(57, 3 * CELLS, 0.9, 0.95)}, None),
    "boxes and labels": ({"boxes": zeros(300, 4), "labels": zeros(300)}, None),
    "YOLO pose with the cells first": ({"o": rows(56, CELLS, 0.9, 90, 40, 0.9)}, "2 kinds"),
    "NanoDet of one class": ({"o": rows(33, CELLS, 3, 5, -4, logits=True)}, "not 0..1"),
    "RT-DETR of 80 classes": ({"o": rows(84, 300, 0.9, 0.01)}, "2 kinds"),
    "YOLO-NAS": ({"boxes": rows(4, CELLS), "scores": rows(80, CELLS, 0.9)}, None),
    "SSD": (
        {"boxes": rows(4, 900) / 256, "scores": rows(21, 900) * 0},
        "where the person of a sample photo is",
    ),
    "DETR of 92 classes": (
        {"pred_boxes": rows(4, 100) / 256, "logits": zeros(100, 92) - 9},
        "do not include the person",
    ),
    "YOLO pose of 21 joints": ({"o": zeros(68, CELLS)}, "do not include the person"),
    "YOLO of rotated boxes": ({"o": zeros(20, CELLS)}, "do not include the person"),
    "segmentation of 17 classes": ({"o": zeros(17, 64, 48)}, "points are not where"),
    "SimCC of another input": (
        {"x": zeros(17, 384) + 0.1, "y": zeros(17, 512) + 0.1},
        "points are not where",
    ),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_lookalikes_are_rejected_or_reported(tmp_path: Path, name: str, caplog: Any) -> None:
    outputs, message = LOOKALIKES[name]
    path = write_outputs(tmp_path / "net.onnx", SIZE, outputs)
    if name == "boxes and labels":
        model = onnx.load(path)
        model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
        model.graph.node[-1].output[0] = "as_float"
        model.graph.node.append(
            onnx.helper.make_node("Cast", ["as_float"], ["labels"], to=onnx.TensorProto.INT64)
        )
        onnx.save(model, path)
    if message in (None, "not 0..1", "2 kinds"):
        with pytest.raises(ValueError, match=message or "is not a slimpose model"):
            Session(path)
        return
    kind = Session(path).info.kind
    Session(path)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"net.onnx is taken for {kind}" in record.getMessage()
    assert message in record.getMessage()
    caplog.clear()
    path.with_suffix(".toml").write_text(f"kind = {json.dumps(kind)}\n")
    Session(path)
    assert not caplog.records


def test_joints_where_the_person_is_confirm_a_pose_network(tmp_path: Path, caplog: Any) -> None:
    photo = trial.sample_photo()
    assert photo is not None
    _, to_crops = trial._person_crops(photo, SIZE)
    points = geometry.transform_points(to_crops[1:2], trial._POINTS[None])[0].round().astype(int)
    x, y = zeros(17, 2 * SIZE.width), zeros(17, 2 * SIZE.height)
    x[0, range(17), 2 * points[:, 0]], y[0, range(17), 2 * points[:, 1]] = 0.9, 0.9
    path = write_outputs(tmp_path / "net.onnx", SIZE, {"x": x, "y": y})
    assert Session(path).info.kind == "rtmpose"
    assert not caplog.records


def test_a_box_where_the_person_is_confirms_a_detector(tmp_path: Path, caplog: Any) -> None:
    outputs = {"output": rows(85, CELLS, 0.9, 0.95)}  # YOLOX with decoded boxes
    assert Session(write_outputs(tmp_path / "net.onnx", SIZE, outputs)).info.kind == "yolox"
    assert not caplog.records


@pytest.mark.parametrize(
    ("size", "names"),
    [
        (Size(64, 64), ("y_simcc", "x_simcc")),
        (Size(64, 64), ("pred_y_axis", "pred_x_axis")),
        (Size(64, 48), ("output0", "output1")),
        (Size(48, 64), ("a", "b")),
    ],
)
def test_simcc_outputs_may_begin_with_y(tmp_path: Path, size: Size, names: tuple[str, str]) -> None:
    x, y = zeros(17, 2 * size.width), zeros(17, 2 * size.height)
    x[0, :, 20], y[0, :, 60] = 0.9, 0.9
    path = write_outputs(tmp_path / "net.onnx", size, dict(zip(names, (y, x), strict=True)))
    (points,) = Session(path).run(np.zeros((2, *size, 3), np.uint8), ("points",))
    assert (points == [10, 30]).all()


def test_scores_may_come_before_boxes(tmp_path: Path) -> None:
    outputs = dict(reversed(box_outputs()["picodet"].items()))
    session = Session(write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, outputs))
    assert session.info.kind == "picodet"
    boxes, _ = Detector(session)(np.zeros((*DETECTOR_SIZE, 3), np.uint8))
    np.testing.assert_allclose(boxes, [PERSON_BOX], atol=0.01)


@pytest.mark.parametrize("kind", ["yolo-pose", "yolo-pose-nms"])
def test_any_number_of_joints_can_be_said(tmp_path: Path, kind: str) -> None:
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, people_outputs(21)[kind])
    joints = [f"joint_{number}" for number in range(21)]
    skeleton = tmp_path / "hand.json"
    skeleton.write_text(json.dumps({"keypoints": joints}))
    path.with_suffix(".toml").write_text(
        f"kind = {json.dumps(kind)}\nskeleton = {json.dumps(str(skeleton))}\n"
    )
    (points,) = Session(path).run(np.zeros((1, *DETECTOR_SIZE, 3), np.uint8), ("points",))
    assert points.shape[2] == 21


@pytest.mark.parametrize("folder", ["models", "elsewhere"])
def test_remembered_skeleton_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    models = tmp_path / "models"
    for one in (models, tmp_path / folder):
        one.mkdir(exist_ok=True)
    skeleton = tmp_path / folder / "hand.json"
    skeleton.write_text(json.dumps({"keypoints": [f"joint_{number}" for number in range(21)]}))
    monkeypatch.chdir(skeleton.parent)
    remember(write_simcc(models / "net.onnx", joints=21), ModelSettings(skeleton="hand.json"))
    monkeypatch.chdir(tmp_path)
    if folder == "models":
        models = models.rename(tmp_path / "moved")
    path = models / "net.onnx"
    assert Session(path).run(np.zeros((1, 64, 48, 3), np.uint8), ("points",))[0].shape[1] == 21
