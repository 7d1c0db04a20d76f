from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from slimpose.runtime import onnx_file
from slimpose.runtime.machine import read_machine
from slimpose.runtime.onnx_file import open_onnx_file
from synthetic_models import write_pose_model


@pytest.mark.parametrize(
    ("architecture", "features", "avoids_overflow"),
    [
        ("x86_64", {"avx2": True, "vnni": False}, True),
        ("x86_64", {"avx2": True, "vnni": True}, False),
        ("AMD64", {}, True),  # unknown features
        ("aarch64", {"dotprod": False}, False),
        ("arm64", {}, False),
    ],
)
def test_int8_overflow_is_avoided_on_every_processor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    features: dict[str, bool],
    avoids_overflow: bool,
) -> None:
    machine = dataclasses.replace(read_machine(), architecture=architecture, features=features)
    monkeypatch.setattr(onnx_file, "read_machine", lambda: machine)
    options = open_onnx_file(write_pose_model(tmp_path / "pose.onnx")).get_session_options()
    if avoids_overflow:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry("session.x64quantprecision")
