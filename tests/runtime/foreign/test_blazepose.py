from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from foreign_models import SIZE
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.foreign.blazepose import BlazePoseGraph
from slimpose.runtime.session import Session


class FakeInterpreter:
    """Replaces the .tflite reader: landmark k is at (k + 10, 2 k + 8) - the crop's brightness."""

    def __init__(self, *, model_path: str, num_threads: int | None) -> None:
        if Path(model_path).read_bytes() != b"landmarks":
            raise ValueError("Model provided has model identifier '<ht', should be 'TFL3'")
        assert num_threads is None or num_threads > 0

    def allocate_tensors(self) -> None:
        pass

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "shape": np.array([1, 64, 48, 3])}]

    def get_output_details(self) -> list[dict[str, Any]]:
        shapes = {1: [1, 1], 2: [1, 195], 3: [1, 16, 12, 39]}
        return [{"index": index, "shape": np.array(shape)} for index, shape in shapes.items()]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert (index, value.dtype) == (0, np.float32)
        self.brightness = float(value.mean())

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> np.ndarray:
        if index == 3:
            maps = np.full((1, 16, 12, 39), -30.0, np.float32)
            maps[0, 3, 4, 0] = 3.0  # the nose: a peak in cell (4, 3), two cells from its landmark
            maps[0, 12, 2, 28] = 3.0  # the right ankle: a peak out of reach
            return maps
        assert index == 2
        numbers = np.zeros((39, 5), np.float32)
        numbers[:, 0] = np.arange(39) + 10 - self.brightness
        numbers[:, 1] = 2 * np.arange(39) + 8 - self.brightness
        return numbers.reshape(1, 195)


@pytest.fixture
def tflite(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("ai_edge_litert"), ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = FakeInterpreter  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


@pytest.mark.usefixtures("tflite")
def test_landmarks_become_cocos_joints(tmp_path: Path) -> None:
    file = tmp_path / "pose_landmark.tflite"
    file.write_bytes(b"landmarks")
    white = np.full((1, *SIZE, 3), 255, np.uint8)  # 1.0 in the model's input
    model = Session(file)
    points, scores = model.run(white, ("points", "scores"))
    assert (model.info.kind, model.backend) == ("blazepose", "litert")
    assert points.shape == (1, 17, 2)
    regressed = [[8.5, 6.5], [23.5, 36.5], [36.5, 62.5]]  # landmarks 0, 15, 28
    np.testing.assert_allclose(points[0, [0, 9, 16]], [[15.5, 11.5], *regressed[1:]], atol=1e-4)
    assert (scores == 0.5).all()  # logit 0
    (plain,) = BlazePoseGraph(file, refine=False).run(white, ("points",))
    np.testing.assert_allclose(plain[0, [0, 9, 16]], regressed)


@pytest.mark.usefixtures("tflite")
def test_broken_tflite_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "page.tflite").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"page\.tflite is not a \.tflite file that can be loaded"):
        Session(tmp_path / "page.tflite")


def test_missing_tflite_reader_is_reported_with_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "net.tflite").write_bytes(b"landmarks")
    with pytest.raises(BackendError, match="pip install ai-edge-litert"):
        Session(tmp_path / "net.tflite")
