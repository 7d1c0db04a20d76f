"""Files as Ultralytics exports them: their metadata say what their outputs do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from foreign_models import (
    DETECTOR_SIZE,
    JOINTS_PX,
    PERSON_BOX,
    box_outputs,
    people_outputs,
    write_constant,
    write_outputs,
)
from slimpose.runtime.detector import Detector
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.session import Session

POSE = {
    "task": "pose",
    "kpt_shape": "[17, 3]",
    "names": "{0: 'person'}",
    "imgsz": "[96, 64]",
    "end2end": "False",
}
DETECT = {"task": "detect", "imgsz": "[96, 64]", "names": "{0: 'person'}"}
IMAGE = np.zeros((96, 64, 3), np.uint8)


def pose_rows(*, classes: int = 1, values: int = 3) -> np.ndarray:
    """Return the outputs of a YOLO pose net of more classes, or of joints without scores."""
    rows = people_outputs(17)["yolo-pose"]["output0"]
    joints = rows[:, 5:].reshape(1, 17, 3, -1)[:, :, :values].reshape(1, 17 * values, -1)
    return np.concatenate([rows[:, :5], np.zeros_like(rows[:, 1:classes]), joints], axis=1)


@pytest.mark.parametrize(
    ("rows", "metadata", "score"),
    [
        (pose_rows(), {}, 0.9 * 0.75),
        (pose_rows(values=2), {"kpt_shape": "[17, 2]"}, 0.9 * 0.9),
        (pose_rows(classes=3), {"names": "{0: 'a', 1: 'b', 2: 'c'}"}, 0.9 * 0.75),
        (pose_rows(classes=2), {"names": "{0: 'Person', 1: 'dog'}"}, 0.9 * 0.75),
    ],
)
def test_pose_nets_without_nms(
    tmp_path: Path, rows: np.ndarray, metadata: dict[str, str], score: float
) -> None:
    path = write_outputs(
        tmp_path / "yolo.onnx", DETECTOR_SIZE, {"output0": rows}, batch=1, metadata=POSE | metadata
    )
    session = Session(path)
    assert session.info.kind == "yolo-pose"
    poses = OneStageEstimator(session)(IMAGE)
    np.testing.assert_allclose(poses.points_image, JOINTS_PX[None], atol=0.01)
    np.testing.assert_allclose(poses.person_scores, [score], atol=1e-4)


def test_pose_nets_with_nms(tmp_path: Path) -> None:
    outputs = people_outputs(17)["yolo-pose-nms"]
    outputs["output0"][0, 1] = outputs["output0"][0, 0] + 8
    outputs["output0"][0, 1, 4:6] = 0.8, 1  # a dog
    metadata = POSE | {"names": "{0: 'person', 1: 'dog'}", "end2end": "True"}
    path = write_outputs(tmp_path / "yolo.onnx", DETECTOR_SIZE, outputs, metadata=metadata)
    session = Session(path)
    assert session.info.kind == "yolo-pose-nms"
    assert len(OneStageEstimator(session)(IMAGE)) == 1


def test_files_of_free_size_run_at_that_of_their_export(tmp_path: Path) -> None:
    image = (TensorProto.FLOAT, ["batch", 3, "height", "width"])
    session = Session(write_constant(tmp_path / "yolo.onnx", image, POSE, output0=pose_rows()))
    assert session.info.size == DETECTOR_SIZE
    assert len(OneStageEstimator(session)(IMAGE)) == 1


@pytest.mark.parametrize("kind", ["yolo", "yolo-nms"])
def test_the_class_of_people_is_found_by_its_name(tmp_path: Path, kind: str) -> None:
    outputs = box_outputs()[kind]["output0"]
    if kind == "yolo":
        outputs = outputs[:, :7].copy()
        outputs[0, 4:, :] = 0
        outputs[0, 6, 3], outputs[0, 4, 9] = 0.9, 0.95
    else:
        outputs[0, :2, 5] = 2, 0
    names = {"names": "{0: 'helmet', 1: 'vest', 2: 'person'}"}
    path = tmp_path / "yolo.onnx"
    write_outputs(path, DETECTOR_SIZE, {"output0": outputs}, metadata=DETECT | names)
    boxes, scores = Detector(Session(path))(IMAGE)
    np.testing.assert_allclose(boxes, [PERSON_BOX], atol=0.51)
    np.testing.assert_allclose(scores, [0.9], atol=1e-4)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            DETECT | {"names": str({number: f"part {number}" for number in range(80)})},
            "detects 'part 0, part 1, .*, of which none is a person; expected a detector with",
        ),
        (POSE | {"kpt_shape": "[17]"}, r"metadata kpt_shape is '\[17\]'; expected \[keypoints, 2"),
        (DETECT | {"names": "person"}, "metadata names is 'person'; expected the names of the"),
        (DETECT | {"imgsz": "((" * 9999}, "metadata imgsz is .*; expected .height, width.*, as"),
        (DETECT | {"task": "obb"}, "the outputs of no model kind known here"),
    ],
)
def test_metadata_that_do_not_fit_are_rejected(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    outputs = box_outputs()["yolo"]
    path = write_outputs(tmp_path / "yolo.onnx", DETECTOR_SIZE, outputs, metadata=metadata)
    with pytest.raises(ValueError, match=message) as caught:
        Session(path)
    assert "\n" not in str(caught.value)
