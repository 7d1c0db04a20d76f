"""Compared networks as ONNX files: agreement with PyTorch, and results in the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from run_main import run_main
from slimpose.adapters.part_affinity import group_people
from slimpose.arrays import Size
from slimpose.export import onnx as onnx_export
from slimpose.export.torch_model import as_module
from slimpose.network.baselines.net import BaselineNet, BaselineSpec, PartAffinityNet
from slimpose.network.build import BASELINES, build, spec_named
from slimpose.network.weights import LoadedNetwork, load_network, random_network, save_checkpoint
from slimpose.runtime.session import Session
from slimpose.skeleton import OPENPOSE18

SIZE = Size(64, 64)
UNTRAINED_OPENPOSE = ("lightweight-openpose", "--untrained", "--size", "64x96")


def random_net_with_peaks(name: str) -> LoadedNetwork:
    """An untrained network whose heatmaps have peaks, as those of a trained one."""
    torch.manual_seed(0)
    loaded = random_network(spec_named(name, size=SIZE), task="pose")
    joints = loaded.spec.joints
    convolutions = [module for module in loaded.net.modules() if isinstance(module, nn.Conv2d)]
    last = [
        convolution
        for convolution in convolutions
        if convolution.out_channels in (joints, joints + 1)
    ][-1]
    nn.init.normal_(last.weight, std=0.5)
    with torch.inference_mode():
        peak = float(loaded.net(torch.from_numpy(onnx_export.smooth_noise_images(4, SIZE))).amax())
        last.weight.div_(peak)  # the highest peak becomes 1
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_file_agrees_with_pytorch_and_runs_in_the_runtime(name: str, tmp_path: Path) -> None:
    loaded = random_net_with_peaks(name)
    out = tmp_path / f"{name}.onnx"
    onnx_export.export(loaded, out, name=name, card={})  # fails if points or heatmaps differ
    session = Session(out)
    assert session.info.card["start"] == "random weights, untrained"
    info = session.info
    assert (info.task, info.size, info.stride) == ("pose", SIZE, loaded.spec.stride)
    assert_same(session, loaded.net)


def test_published_weights_are_exported_with_their_alignment(tmp_path: Path) -> None:
    net = random_net_with_peaks("efficientpose-a").net
    path = tmp_path / "published.safetensors"
    origin = {"start": "published weights x.pth", "alignment": "multiples"}
    metadata = {"task": "pose", "net": net.spec.to_json(), **origin}
    save_checkpoint(path, net.state_dict(), metadata)
    out = tmp_path / "published.onnx"
    onnx_export.export(load_network(path), out, name="published", card={})
    session = Session(out)
    assert session.info.card["start"] == "published weights x.pth"
    assert_same(session, load_network(path).net)
    images = onnx_export.smooth_noise_images(3, SIZE)
    with torch.inference_mode():
        unaligned = net(torch.from_numpy(images)).numpy()
    (aligned,) = session.run(images, ("heatmaps",))
    # The center of the aligned cell (8, 6) is 3/8 of a cell further right and down than before:
    # cubic interpolation between 7..10 and 5..8.
    weights = np.array([-0.0634765625, 0.6982421875, 0.4189453125, -0.0537109375])
    expected = np.einsum("njyx,y,x->nj", unaligned[:, :, 7:11, 5:9], weights, weights)
    np.testing.assert_allclose(aligned[:, :, 8, 6], expected, atol=1e-3)


def assert_same(session: Session, net: nn.Module) -> None:
    """The file's heatmaps are the network's, and its points have scores."""
    images = onnx_export.smooth_noise_images(3, SIZE)
    points, scores, heatmaps = session.run(images, ("points", "scores", "heatmaps"))
    assert points.shape == (*heatmaps.shape[:2], 2)
    assert scores.max() > 0.1  # otherwise nothing is compared
    with torch.inference_mode():
        expected = net(torch.from_numpy(images)).numpy()
    assert heatmaps.shape == expected.shape
    np.testing.assert_allclose(heatmaps, expected, atol=1e-3)


def test_bottom_up_file_outputs_heatmaps_and_affinities(tmp_path: Path) -> None:
    out = tmp_path / "openpose.onnx"
    assert run_main("export", *UNTRAINED_OPENPOSE, "--out", out) == 0
    session = Session(out)
    assert (session.info.task, session.info.stride) == ("bottom-up", 8)
    assert session.info.card["start"] == "random weights, untrained"
    assert session.info.skeleton == OPENPOSE18
    heatmaps, affinities = session.run(
        onnx_export.smooth_noise_images(2, Size(64, 96)), ("heatmaps", "affinities")
    )
    assert heatmaps.shape == (2, 18, 8, 12)
    assert affinities.shape == (2, 38, 8, 12)
    info = session.info
    people = group_people(heatmaps[0], affinities[0], info.skeleton, stride=info.stride)
    assert len(people.scores) == 0  # untrained


def test_bottom_up_file_of_another_runtime_is_compared_by_its_maps(tmp_path: Path) -> None:
    out = tmp_path / "openpose.xml"
    assert run_main("export", *UNTRAINED_OPENPOSE, "--out", out) == 0
    images = onnx_export.smooth_noise_images(2, Size(64, 96))
    heatmaps, affinities = Session(out).run(images, ("heatmaps", "affinities"))
    maps = {"heatmaps": heatmaps, "affinities": affinities}
    assert onnx_export.drift_of(maps, maps).maps == 0
    moved = {**maps, "affinities": affinities + np.float32(0.25)}
    assert onnx_export.drift_of(maps, moved).maps == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hrnet-w18", "--untrained"), "no network is named 'hrnet-w18'"),
        (
            ("hrnet-w32", "--untrained", "--size", "100x100"),
            "input size 100x100 is not a multiple of 32",
        ),
        (("best.safetensors", "--size", "64x64"), "--size is for --untrained"),
        (("hrnet-w32",), "no weights file hrnet-w32"),
    ],
)
def test_invalid_weights_and_options_are_rejected(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("export", *words, "--out", tmp_path / "x.onnx") == 2
    assert message in capsys.readouterr().err


def test_task_that_the_network_cannot_do_is_rejected() -> None:
    net = build(BaselineSpec(baseline="efficientpose-a", size=SIZE))
    assert isinstance(net, BaselineNet)
    with pytest.raises(
        ValueError,
        match="efficientpose-a is not a bottom-up network; expected lightweight-openpose",
    ):
        PartAffinityNet(net)
    with pytest.raises(
        ValueError, match="the task is 'detect', which a BaselineNet with 17 joints cannot do"
    ):
        as_module(random_network(BaselineSpec(baseline="efficientpose-a"), task="detect"))
