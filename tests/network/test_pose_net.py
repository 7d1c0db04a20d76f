"""The pose network and its decoder: sizes, skips, initial outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slimpose.arrays import Size
from slimpose.network.family import family_spec
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from small_network import SMALL, changed, crops, parameters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b1", 6_167_905),  # the paper's network, without its tool's double counting
        ("lite1", 3_790_401),  # the same without squeeze-and-excite, timm's lite widths
        ("mnv2", 1_878_593),  # the shipped default
    ],
)
def test_parameter_counts_of_named_networks(name: str, expected: int) -> None:
    assert parameters(PoseNet(family_spec(name))) == expected


def test_one_heatmap_per_joint_of_a_quarter_of_the_crop() -> None:
    net = PoseNet(SMALL).eval()
    with torch.inference_mode():
        # Any multiple of 32 works, not only the size of the spec.
        assert net(crops(2, Size(64, 96))).shape == (2, 17, 16, 24)
    assert SMALL.heatmap_size == Size(16, 16)


def test_untrained_network_outputs_nearly_empty_heatmaps() -> None:
    # Zero heatmaps have a loss of 1 per joint: starting near them keeps the first steps stable.
    with torch.inference_mode():
        assert PoseNet(SMALL).eval()(crops()).abs().max() < 0.2


@pytest.mark.parametrize("skip", ["none", "concat", "sum"])
def test_skips_keep_the_output_size(skip: str) -> None:
    net = PoseNet(changed(skip=skip)).eval()
    with torch.inference_mode():
        assert net(crops()).shape == (1, 17, 16, 16)
    assert len(net.decoder.skips) == (0 if skip == "none" else 2)  # strides 16 and 8


def test_skips_have_gradients() -> None:
    for skip in ("concat", "sum"):
        net = PoseNet(changed(skip=skip)).eval()
        net(crops()).square().sum().backward()
        for convolution in net.decoder.skips:
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.weight.grad is not None
            assert convolution.weight.grad.abs().sum() > 0


def test_papers_two_level_network_has_the_printed_size() -> None:
    # Table V, 2 levels: 1.25 M parameters only fit an encoder of stride 16.
    two_levels = NetSpec(encoder="tf_efficientnet_b1", encoder_stride=16, deconv_widths=(32, 32))
    assert parameters(PoseNet(two_levels)) == pytest.approx(1.25e6, rel=0.01)


def test_batch_gives_the_same_results_as_single_crops() -> None:
    net = PoseNet(SMALL).eval()
    batch = crops(3)
    with torch.inference_mode():
        batched = net(batch)
        single = torch.cat([net(batch[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=1e-4)
