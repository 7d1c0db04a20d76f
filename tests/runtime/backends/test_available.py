from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imports import imported_by
from slimpose.runtime.auto_backend import DEFAULT
from slimpose.runtime.backends.available import BACKENDS, backend_of, backends, installed_versions
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from synthetic_models import write_pose_model


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


def test_session_reports_backend_precision_and_threads(pose: Path) -> None:
    session = Session(pose, threads=1)
    assert (session.backend, session.precision, session.threads) == ("onnxruntime", "fp32", 1)
    with pytest.raises(
        BackendError, match="no backend is named 'torch'; expected one of onnxruntime, openvino"
    ):
        Session(pose, backend="torch")
    with pytest.raises(BackendError, match="onnxruntime does not compute in bf16"):
        Session(pose, precision="bf16")


def test_missing_backend_is_rejected_with_its_install_command(
    pose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="OpenVINO is not installed: pip install openvino"):
        Session(pose, backend="openvino")
    assert backends()["openvino"].install == "pip install openvino"
    assert "openvino" not in installed_versions(backends())
    Session(pose, threads=1)  # the others do not need it


def test_each_backend_reads_its_own_files(tmp_path: Path) -> None:
    own = {
        "a.onnx": "onnxruntime",
        "a.xml": "openvino",
        "a.ncnn.param": "ncnn",
        "a.tflite": "litert",
    }
    assert {name: backend_of(Path(name), "onnxruntime") for name in own} == own
    assert backend_of(Path("a.onnx"), "openvino") == "openvino"
    for backend, suffix in (("litert", ".tflite"), ("ncnn", ".ncnn.param")):
        with pytest.raises(
            BackendError, match=rf"{backend} does not read a\.onnx; expected a \{suffix} file"
        ):
            backend_of(Path("a.onnx"), backend)
    with pytest.raises(
        BackendError, match=r"no backend is named 'tpu'; expected one of onnxruntime, .*ncnn"
    ):
        backend_of(Path("a.onnx"), "tpu")
    assert set(backends()) == set(BACKENDS)
    assert DEFAULT.backend == "onnxruntime"
    (tmp_path / "a.ncnn.param").touch()
    with pytest.raises(
        FileNotFoundError, match=r"no model file .*a\.ncnn\.bin; an NCNN model is a\.ncnn\.param, "
    ):
        Session(tmp_path / "a.ncnn.param")


def test_listing_backends_imports_no_optional_package() -> None:
    packages = ("openvino", "ncnn", "ai_edge_litert", "tensorrt", "cuda")
    assert not imported_by("import slimpose.runtime.backends.available", *packages)
