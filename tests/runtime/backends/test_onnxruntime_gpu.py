from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from slimpose.runtime.backends import onnxruntime_gpu
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from synthetic_models import CROP, metadata_of, write_detector_model, write_pose_model


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


class FakeSession(onnxruntime.InferenceSession):
    """A session on the CPU that reports other providers."""

    reported: tuple[str, ...] = ()

    def get_providers(self) -> list[str]:
        return list(self.reported)


class FakeOpening:
    """``open_onnx_file`` of an NVIDIA runtime, whose libraries may be missing."""

    def __init__(self, *, is_loaded: bool) -> None:
        self._is_loaded = is_loaded
        self.providers: list[Any] = []

    def __call__(self, path: Path, *, providers: Any = (), **_: Any) -> FakeSession:
        self.providers = list(providers)
        session = FakeSession(str(path), providers=["CPUExecutionProvider"])
        names = tuple(one if isinstance(one, str) else one[0] for one in providers)
        session.reported = names if self._is_loaded else ("CPUExecutionProvider",)
        return session


@pytest.fixture
def fake_nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [*onnxruntime_gpu.PROVIDERS.values(), "CPU"]
    )


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
def test_missing_nvidia_runtime_is_reported(pose: Path, backend: str) -> None:
    if onnxruntime_gpu.PROVIDERS[backend] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(
        BackendError,
        match=rf"{backend} is not installed: this ONNX Runtime has .*onnxruntime-gpu",
    ):
        Session(pose, backend=backend)


@pytest.mark.parametrize(("precision", "fp16"), [(None, "False"), ("fp16", "True")])
@pytest.mark.usefixtures("fake_nvidia")
def test_tensorrt_builds_one_engine_for_all_batch_sizes(
    pose: Path, monkeypatch: pytest.MonkeyPatch, precision: str | None, fp16: str
) -> None:
    opening = FakeOpening(is_loaded=True)
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", opening)
    session = Session(pose, backend="tensorrt", precision=precision)
    name, options = opening.providers[0]
    assert name == "TensorrtExecutionProvider"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (fp16, "False")
    assert options["trt_profile_min_shapes"] == f"crops:1x{CROP.height}x{CROP.width}x3"
    assert options["trt_profile_max_shapes"] == f"crops:64x{CROP.height}x{CROP.width}x3"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert session.precision == (precision or "fp32")
    assert session.run(np.zeros((2, *CROP, 3), np.uint8), ("points",))[0].shape == (2, 17, 2)


@pytest.mark.usefixtures("fake_nvidia")
def test_int8_file_enables_int8_in_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = metadata_of("pose", CROP, precision="int8")
    path = write_pose_model(tmp_path / "int8.onnx", metadata=metadata)
    opening = FakeOpening(is_loaded=True)
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", opening)
    assert Session(path, backend="tensorrt").precision == "int8"
    assert opening.providers[0][1]["trt_int8_enable"] == "True"


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
@pytest.mark.usefixtures("fake_nvidia")
def test_unavailable_device_is_rejected_without_fallback(
    pose: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", FakeOpening(is_loaded=False))
    with pytest.raises(
        BackendError, match=f"{backend} is in this ONNX Runtime but could not be started"
    ):
        Session(pose, backend=backend)


@pytest.mark.usefixtures("fake_nvidia")
def test_engine_folder_differs_by_file_and_precision(tmp_path: Path) -> None:
    paths = write_pose_model(tmp_path / "a.onnx"), write_detector_model(tmp_path / "b.onnx")
    folders = {
        onnxruntime_gpu.engine_folder(path, precision)
        for path in paths
        for precision in ("fp32", "fp16")
    }
    assert len(folders) == 4
