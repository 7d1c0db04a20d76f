"""Exported ONNX files: metadata, agreement with PyTorch, and what is rejected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from run_main import run_main
from slimpose.export import onnx as onnx_export
from slimpose.export.torch_model import as_module
from slimpose.network.build import spec_from_json
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_network, save_checkpoint
from tiny_training import SHALLOW as SPEC


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small untrained network whose heatmaps have peaks."""
    torch.manual_seed(0)
    net = PoseNet(SPEC)
    torch.nn.init.normal_(net.to_heatmaps.weight, std=0.5)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_checkpoint(
        path, net.state_dict(), {"task": "pose", "net": SPEC.to_json(), "start": "random"}
    )
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    out = weights.with_name("small.onnx")
    onnx_export.export(load_network(weights), out, name="small", card={"license": "Apache-2.0"})
    return out


def test_file_agrees_with_pytorch_for_any_batch_size(weights: Path, exported: Path) -> None:
    module = as_module(load_network(weights))
    for count in (1, 3, 8):
        images = onnx_export.smooth_noise_images(count, SPEC.size)
        drift = onnx_export.compare_outputs(module, exported.read_bytes(), images)
        assert drift.pixels <= 0.05
        assert drift.maps <= 1e-3


def test_batch_gives_the_same_points_as_single_crops(exported: Path) -> None:
    session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    images = onnx_export.smooth_noise_images(8, SPEC.size)
    batched = np.asarray(session.run(["points"], {"crops": images})[0])
    single = [np.asarray(session.run(["points"], {"crops": image[None]})[0]) for image in images]
    np.testing.assert_allclose(batched, np.concatenate(single), atol=0.01)


def test_metadata_describes_the_model(exported: Path) -> None:
    session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    expected = {"slimpose": "1", "task": "pose", "name": "small", "precision": "fp32"}
    assert {key: metadata[key] for key in expected} == expected
    assert spec_from_json(metadata["net"]) == SPEC
    assert len(json.loads(metadata["skeleton"])["joints"]) == 17
    assert json.loads(metadata["card"]) == {"start": "random", "license": "Apache-2.0"}
    assert len(metadata["weights_sha256"]) == 64


def test_file_that_differs_from_pytorch_is_not_written(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        onnx_export, "compare_outputs", lambda *_: onnx_export.ExportDrift(pixels=0.2, maps=0.0)
    )
    out = weights.with_name("never.onnx")
    with pytest.raises(RuntimeError, match=r"differs from PyTorch by 0\.2 px"):
        onnx_export.export(load_network(weights), out, name="never", card={})
    assert not out.exists()
    assert not list(out.parent.glob(".never*"))


@pytest.mark.parametrize("command", ["export", "import-trunk", "import-weights --net hrnet-w32"])
def test_input_file_is_not_overwritten(
    weights: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.safetensors"
    shutil.copy(weights, file)
    assert run_main(*command.split(), file, "--out", file) == 2
    error = capsys.readouterr().err
    assert "--out" in error
    assert "is an input of this call; it would be overwritten" in error
    assert file.read_bytes() == weights.read_bytes()


def test_output_name_with_unknown_suffix_is_rejected(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("export", weights, "--out", tmp_path / "net.safetensors") == 2
    assert (
        "expected a name that ends in .onnx, .xml, .tflite, .ncnn.param, .engine"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
