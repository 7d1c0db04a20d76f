"""``slimpose import-weights``: a published checkpoint as a weights file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from published_layouts import LAYOUTS
from run_main import run_main
from slimpose.arrays import Size
from slimpose.network.baselines.net import BaselineNet
from slimpose.network.build import build, spec_named
from slimpose.network.weights import load_checkpoint, load_network
from slimpose.skeleton import COCO17, Skeleton


def run(*arguments: object) -> int:
    return run_main("import-weights", *arguments)


def test_imported_weights_can_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tensors = {
        name: torch.rand(shape) if shape else torch.tensor(9)
        for name, shape in LAYOUTS["hrnet-w32"].items()
    }
    file, out = tmp_path / "pose_hrnet_w32_384x288.pth", tmp_path / "teacher.safetensors"
    torch.save(tensors, file)
    assert run(file, "--net", "hrnet-w32", "--size", "384x288", "--out", out) == 0
    assert "tensors of hrnet-w32 from pose_hrnet_w32_384x288.pth" in capsys.readouterr().out
    loaded = load_network(out)
    assert (loaded.task, loaded.spec) == ("pose", spec_named("hrnet-w32", size=Size(384, 288)))
    assert isinstance(loaded.net, BaselineNet)
    assert loaded.net.alignment == "multiples"
    assert torch.equal(
        loaded.net.state_dict()["body.final_layer.bias"], tensors["final_layer.bias"]
    )
    assert Skeleton.from_json(loaded.metadata["skeleton"]) == COCO17
    assert loaded.metadata["start"].startswith(
        "published weights pose_hrnet_w32_384x288.pth sha256 "
    )


def test_alignment_and_color_order_can_be_given(tmp_path: Path) -> None:
    file, out = tmp_path / "udp.pth", tmp_path / "teacher.safetensors"
    net = spec_named("lightweight-openpose", size=Size(64, 64))
    tensors = {
        name.removeprefix("body."): tensor for name, tensor in build(net).state_dict().items()
    }
    torch.save({"state_dict": tensors}, file)
    options = ("--net", "lightweight-openpose", "--out", out)
    assert run(file, *options, "--alignment", "corners", "--color-order", "rgb") == 0
    saved = load_checkpoint(out)
    assert (saved.metadata["task"], saved.metadata["alignment"]) == ("bottom-up", "corners")
    swapped = tmp_path / "bgr.safetensors"
    assert run(file, "--net", "lightweight-openpose", "--out", swapped) == 0
    rgb, bgr = (
        load_checkpoint(path).tensors["body.model.0.0.weight"]
        / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        for path in (out, swapped)
    )
    torch.testing.assert_close(bgr, rgb.flip(1))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("hrnet-w18", "no network is named 'hrnet-w18'"),
        (
            "b1",
            "no published layout of 'b1' is known; expected one of hrnet-w32, hrnet-w48, "
            "simplebaseline-r50",
        ),
        ("hrnet-w32", "lacks conv1.weight (64, 3, 3, 3)"),
    ],
)
def test_invalid_input_writes_nothing(
    net: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "pose.pth", tmp_path / "out.safetensors"
    torch.save({"a": torch.zeros(1)}, file)
    assert run(file, "--net", net, "--out", out) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert run(tmp_path / "none.pth", "--net", "hrnet-w32", "--out", out) == 2
    assert "no checkpoint" in capsys.readouterr().err
