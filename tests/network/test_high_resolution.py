from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from slimpose.arrays import Crops, Size
from slimpose.network.build import net_from_metadata, spec_from_json
from slimpose.network.cost import cost_of_spec
from slimpose.network.high_resolution import (
    HR,
    GatedUnit,
    HighResolutionNet,
    HighResolutionSpec,
)
from slimpose.network.unit_pruning import prune_units

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = HighResolutionSpec(
    widths=(8, 12), inner_widths=(6, 6), modules=(2,), stem_width=8, size=Size(64, 64), joints=3
)


@pytest.fixture(scope="module")
def images() -> list[Crops]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (8, 64, 64, 3)).astype(np.uint8) for _ in range(4)]


def test_heatmaps_have_stride_4_at_any_size() -> None:
    net = HighResolutionNet(SMALL).eval()
    with torch.inference_mode():
        heatmaps = net(torch.zeros(2, 96, 160, 3, dtype=torch.uint8))
    assert heatmaps.shape == (2, 3, 24, 40)


def test_spec_is_read_back_from_metadata() -> None:
    assert spec_from_json(HR.to_json()) == HR
    net = net_from_metadata({"net": SMALL.to_json(), "alignment": "multiples"})
    assert isinstance(net, HighResolutionNet)
    assert net.alignment == "multiples"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": Size(250, 192)}, "input size 250x192 is not a multiple of 32"),
        ({"inner_widths": (16, 32)}, "4 widths, 2 inner widths and modules"),
        ({"modules": (2, 4)}, "expected as many inner widths as widths"),
        ({"joints": 0}, "net.joints is 0; expected an integer 1..65536"),
        ({"stem_width": 33}, "net.stem_width is 33; expected an even number"),
        ({"widths": (40, 80, "160", 320)}, r"net.widths\[2\] is '160'; expected an integer"),
    ],
)
def test_invalid_spec_is_rejected(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(HR, **change)  # pyright: ignore[reportArgumentType]


def test_gated_unit_passes_channels_on() -> None:
    unit = GatedUnit(4, 2)
    with torch.no_grad():
        unit.mix.weight.zero_()
        unit.mix.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
        unit.gate.weight.copy_(torch.tensor([1.0, 0.0, 2.0, 1.0]).view(4, 1, 1, 1))
    maps = torch.rand(1, 4, 5, 5)
    expected = maps * torch.tensor([1.0, 0.0, 2.0, 1.0]).view(4, 1, 1)
    assert torch.equal(unit(maps), expected)


def test_multiply_adds_are_those_of_the_convolutions() -> None:
    """By hand for one exchange of two branches at 64x64."""
    one = dataclasses.replace(SMALL, modules=(1,), units=1)
    two = dataclasses.replace(SMALL, modules=(2,), units=1)
    unit = lambda width, inner: 2 * width * inner + 9 * inner + width  # noqa: E731
    fine, coarse = 16 * 16, 8 * 8
    exchange = fine * unit(8, 6) + coarse * (unit(12, 6) + 12 * 8 + 9 * 8 + 8 * 12)
    assert cost_of_spec(two).macs - cost_of_spec(one).macs == exchange


def with_idle_channels(net: HighResolutionNet) -> HighResolutionNet:
    """Make the last two inner channels of every unit copies of the first two."""
    with torch.no_grad():
        for unit in net.modules():
            if isinstance(unit, GatedUnit):
                for layer in (unit.expand, unit.depthwise):
                    layer.weight[-2:] = layer.weight[:2]
                    assert layer.bias is not None
                    layer.bias[-2:] = layer.bias[:2]
    return net


def test_pruning_redundant_channels_keeps_the_function(images: list[Crops]) -> None:
    torch.manual_seed(0)
    net = with_idle_channels(HighResolutionNet(SMALL)).eval()
    progress: list[tuple[int, int]] = []
    pruned = prune_units(
        net,
        images,
        inner_widths=(4, 4),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert pruned.spec == dataclasses.replace(SMALL, inner_widths=(4, 4))
    assert progress[-1] == (8, 8)
    rebuilt = HighResolutionNet(pruned.spec).eval()
    rebuilt.load_state_dict(pruned.state_dict())
    with torch.inference_mode():
        before, after = net(torch.from_numpy(images[0])), rebuilt(torch.from_numpy(images[0]))
    assert float((before - after).abs().max()) < 0.02 * float(before.std())


@pytest.mark.parametrize("widths", [(6, 6), (8, 6), (4,), (0, 4)])
def test_invalid_inner_widths_are_rejected(widths: tuple[int, ...], images: list[Crops]) -> None:
    with pytest.raises(ValueError, match="expected 2 widths, none larger and at least one smaller"):
        prune_units(HighResolutionNet(SMALL), images, inner_widths=widths)
