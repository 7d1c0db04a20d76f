"""Initializing a larger network from a smaller one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from slimpose.arrays import Size
from slimpose.network.family import family_spec
from slimpose.network.growing import load_into_larger
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec

PARENT = NetSpec(
    encoder="mobilenetv2_100",
    activation="relu",
    size=Size(64, 64),
    head_width=8,
    deconv_widths=(8, 8, 8),
)
DEEPER = dataclasses.replace(PARENT, depth_multiplier=1.4)


def random_net(spec: NetSpec) -> PoseNet:
    """A network in which no batch norm is an identity."""
    torch.manual_seed(1)
    net = PoseNet(spec).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return net


def assert_same_outputs_then_backpropagate(child: PoseNet, parent: PoseNet) -> None:
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(child(crops), parent(crops))
    child.train()
    child(crops).square().sum().backward()


def test_deeper_network_starts_with_the_parents_outputs() -> None:
    parent, child = random_net(PARENT), random_net(DEEPER)
    added = load_into_larger(child, parent.state_dict(), path=Path("parent"))
    assert len(added) == 9  # 1, 2, 3, 4, 3, 3, 1 blocks become 1, 3, 5, 6, 5, 5, 1
    assert_same_outputs_then_backpropagate(child, parent)
    norms = [
        module
        for module in child.get_submodule(added[0]).modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    ]
    last: Any = norms[-1]
    assert last.weight.grad.abs().max() > 0  # it learns


def test_network_with_summed_skips_starts_with_the_outputs_of_one_without() -> None:
    parent, child = random_net(PARENT), random_net(dataclasses.replace(PARENT, skip="sum"))
    assert load_into_larger(child, parent.state_dict(), path=Path("parent")) == [
        "decoder.skips.0",
        "decoder.skips.1",
    ]
    assert_same_outputs_then_backpropagate(child, parent)
    skips: Any = child.decoder.skips
    assert all(skip.weight.grad.abs().max() > 0 for skip in skips)  # they learn
    mixed = PoseNet(dataclasses.replace(PARENT, skip="concat"))
    with pytest.raises(ValueError, match=r"lacks decoder\.skips\.0\.weight, .* in no summed skip"):
        load_into_larger(mixed, parent.state_dict(), path=Path("parent"))


def test_dpu_network_contains_the_shipped_network() -> None:
    parent, child = family_spec("mnv2"), family_spec("dpu")
    added = load_into_larger(PoseNet(child), PoseNet(parent).state_dict(), path=Path("mnv2"))
    assert len(added) == 9


def test_networks_that_are_not_contained_are_rejected() -> None:
    wider = PoseNet(dataclasses.replace(PARENT, head_width=16))
    with pytest.raises(
        ValueError,
        match=r"wider has .* where this network has \(8, .*a network that this one contains",
    ):
        load_into_larger(PoseNet(DEEPER), wider.state_dict(), path=Path("wider"))
    with pytest.raises(ValueError, match="where this network has nothing"):
        load_into_larger(PoseNet(PARENT), PoseNet(DEEPER).state_dict(), path=Path("deeper"))
    cut = {
        name: value
        for name, value in PoseNet(PARENT).state_dict().items()
        if not name.startswith("to_heatmaps")
    }
    with pytest.raises(
        ValueError, match=r"lacks to_heatmaps\.weight, which is in no added residual block"
    ):
        load_into_larger(PoseNet(PARENT), cut, path=Path("cut"))
