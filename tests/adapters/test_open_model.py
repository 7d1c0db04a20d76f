from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from foreign_models import (
    CROPS,
    SIZE,
    write_constant,
    write_heatmaps,
    write_movenet,
    write_simcc,
)
from slimpose.adapters.heatmap_net import HeatmapNet
from slimpose.adapters.movenet import MoveNet
from slimpose.adapters.open_model import open_pose_model
from slimpose.adapters.simcc import SimccNet
from slimpose.runtime.session import Session
from synthetic_models import write_pose_model


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_movenet, MoveNet),
        (write_simcc, SimccNet),
        (write_heatmaps, HeatmapNet),
        (write_pose_model, Session),
    ],
)
def test_file_is_opened_by_the_adapter_that_fits(tmp_path: Path, write: Any, kind: type) -> None:
    model = open_pose_model(write(tmp_path / "some name.onnx"))
    assert isinstance(model, kind)
    assert model.info.task == "pose"
    assert model.info.size == SIZE
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    assert (points.shape, scores.shape, covariances.shape) == ((3, 17, 2), (3, 17), (3, 17, 2, 2))
    assert (np.linalg.eigvalsh(covariances) > 0).all()


def write_classifier(path: Path) -> Path:
    classes = np.zeros((1, 5), np.float32)
    return write_constant(path, (TensorProto.FLOAT, ["n", 3, *SIZE]), classes=classes)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_simcc(path, height="h"), "exported with free height and width?"),
        (
            lambda path: write_movenet(path, joints=18),
            "expected one float input (n, 3, height, width)",
        ),
        (write_classifier, "expected a slimpose model, MoveNet SinglePose"),
        (lambda path: path.write_bytes(b"no model"), "not an ONNX file that ONNX Runtime can load"),
        (lambda path: None, "no model file"),
    ],
)
def test_file_that_no_adapter_reads_is_rejected(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "net.onnx")
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        open_pose_model(tmp_path / "net.onnx")
    assert message in str(raised.value)
