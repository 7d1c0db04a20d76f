import dataclasses
from pathlib import Path

import pytest

from foreign_models import write_relu
from slimpose.measure import benchmark
from slimpose.measure.benchmark import model_entry, peer_entry, share_of_peak
from slimpose.runtime.auto_backend import BackendChoice
from synthetic_models import CROP, metadata_of, write_pose_model


def test_memory_measurement_that_times_out_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pose = write_pose_model(tmp_path / "pose.onnx")
    monkeypatch.setattr(benchmark, "_MEMORY_TIMEOUT_S", 0.01)
    assert benchmark.memory_mb(pose, BackendChoice(), threads=1, people=1) is None


def test_any_onnx_file_can_be_timed_for_one_input(tmp_path: Path) -> None:
    entry = peer_entry(write_relu(tmp_path / "raw.onnx"), name="raw", threads=1)
    assert entry.call(2) is None
    call = entry.call(1)
    assert call is not None
    call()
    (tmp_path / "notes.onnx").write_text("no model")
    with pytest.raises(ValueError, match="not an ONNX file"):
        peer_entry(tmp_path / "notes.onnx", name="notes", threads=1)


def test_share_of_peak_uses_the_peak_of_the_same_precision(tmp_path: Path) -> None:
    metadata = metadata_of("pose", CROP, precision="int8", gmac="0.5")
    path = write_pose_model(tmp_path / "int8.onnx", metadata=metadata)
    entry = model_entry(path, BackendChoice(), name="int8", threads=1)
    # Two people of 0.5 GMAC in 10 ms are 100 GMAC per second.
    assert share_of_peak(entry, 2, 10.0, {"fp32": 200.0, "int8": 400.0}) == 0.25


def test_bf16_has_no_share_of_the_fp32_peak(tmp_path: Path) -> None:
    entry = model_entry(
        write_pose_model(tmp_path / "pose.onnx"), BackendChoice(), name="pose", threads=1
    )
    bf16 = dataclasses.replace(entry, precision="bf16", gmac=1.0)
    assert share_of_peak(bf16, 1, 5.0, {"fp32": 100.0, "int8": 400.0}) is None
