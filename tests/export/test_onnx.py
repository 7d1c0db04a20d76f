"""Exported files: what they hold, that they agree with PyTorch, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from slimpose.cli.main import main
from slimpose.export import onnx as onnx_export
from slimpose.export.torch_model import as_module
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from slimpose.network.weights import load_network, save_checkpoint
from tiny_training import SHALLOW as SPEC


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained small net whose heatmaps are large enough to have peaks."""
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
    onnx_export.export(
        load_network(weights), out, name="small", card={"license": "Apache-2.0"}
    )
    return out


def test_file_agrees_with_pytorch_for_any_batch(weights: Path, exported: Path) -> None:
    module = as_module(load_network(weights))
    for count in (1, 3, 8):
        pictures = onnx_export.smooth_noise_images(count, SPEC.size)
        drift = onnx_export.compare_outputs(module, exported.read_bytes(), pictures)
        assert drift.pixels <= 0.05
        assert drift.maps <= 1e-3


def test_a_batch_gives_the_same_points_as_single_calls(exported: Path) -> None:
    session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    pictures = onnx_export.smooth_noise_images(8, SPEC.size)
    together = np.asarray(session.run(["points"], {"crops": pictures})[0])
    alone = [
        np.asarray(session.run(["points"], {"crops": picture[None]})[0]) for picture in pictures
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=0.01)


def test_metadata_alone_tells_what_the_file_is(exported: Path) -> None:
    session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert (told["slimpose"], told["task"], told["name"], told["precision"]) == (
        "1",
        "pose",
        "small",
        "fp32",
    )
    assert NetSpec.from_json(told["net"]) == SPEC
    assert len(json.loads(told["skeleton"])["joints"]) == 17
    assert json.loads(told["card"]) == {"start": "random", "license": "Apache-2.0"}
    assert len(told["weights_sha256"]) == 64


def test_a_file_that_differs_is_not_written(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnx_export, "compare_outputs", lambda *_: onnx_export.ExportDrift(pixels=0.2, maps=0.0)
    )
    out = weights.with_name("never.onnx")
    with pytest.raises(RuntimeError, match=r"differs from PyTorch by 0\.2 px"):
        onnx_export.export(load_network(weights), out, name="never", card={})
    assert not out.exists()
    assert not list(out.parent.glob(".never*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"not weights at all", "not a safetensors file"),
    ],
)
def test_broken_weights_are_refused(
    weights: Path, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_network(broken)


def test_a_trunk_is_no_net(tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"trunk": "mobilenetv2_100"})
    with pytest.raises(ValueError, match="does not say which net"):
        load_network(path)


@pytest.mark.parametrize("verb", ["export", "import-trunk", "import-weights --net hrnet-w32"])
def test_what_is_read_is_not_written_over(
    weights: Path, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.safetensors"
    shutil.copy(weights, file)
    assert run(*verb.split(), file, "--out", file) == 2
    assert "--out" in (said := capsys.readouterr().err)
    assert "is an input of this call; it would be overwritten" in said
    assert file.read_bytes() == weights.read_bytes()


def test_a_name_that_tells_no_runtime_is_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", weights, "--out", tmp_path / "net.safetensors") == 2
    assert (
        "expected a name that ends in .onnx, .xml, .tflite, .ncnn.param, .engine"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(str(ended.value.code))
