"""Prune the units of a high-resolution network: fewer inner channels, refitted by least squares."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.network.channel_selection import fit_mix, removal_order, sample_values
from slimpose.network.high_resolution import Exchange, GatedUnit, HighResolutionNet


@torch.no_grad()
def prune_units(
    net: HighResolutionNet,
    images: Sequence[Crops],
    *,
    inner_widths: tuple[int, ...],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HighResolutionNet:
    """Return a copy of a trained network whose units have fewer inner channels.

    As in ``network/pruning.py``, channels are removed one by one, each time the one that the others
    can replace best, and the rest is refitted to the sums of the network of before. Units at the
    same depth of different branches do not depend on each other and are refitted together.

    Args:
        net: Trained.
        images: uint8 batches (n, H, W, 3) of its size, a hundred images in total.
        inner_widths: Of each branch, finest first. ONNX Runtime computes 16 channels at a time.
        on_progress: Called with the number of refitted units and of all units.

    Raises:
        ValueError: If the widths are not one per branch, or not smaller than the network's.
    """
    own = net.spec.inner_widths
    is_smaller = len(inner_widths) == len(own) and all(
        0 < width <= full for width, full in zip(inner_widths, own, strict=True)
    )
    if not is_smaller or inner_widths == own:
        raise ValueError(
            f"inner widths {inner_widths} for a network of {own}; expected {len(own)} widths, none"
            " larger and at least one smaller"
        )
    net = copy.deepcopy(net).eval()
    groups = _units_by_depth(net)
    units = [unit for group in groups for unit in group]
    sums = _values(net, images, [unit.mix for unit in units], [unit.gate for unit in units])
    targets = {unit: mixed + passed for unit, (mixed, passed) in zip(units, sums, strict=True)}
    width_of = dict(zip(net.spec.widths, inner_widths, strict=True))
    done = 0
    for group in groups:
        read = _values(net, images, [unit.depthwise for unit in group], [u.gate for u in group])
        for unit, (hidden, passed) in zip(group, read, strict=True):
            _refit(unit, hidden, targets[unit] - passed, width_of[unit.mix.out_channels])
            done += 1
            on_progress(done, len(units))
    net.spec = dataclasses.replace(net.spec, inner_widths=inner_widths)
    return net


def _units_by_depth(net: HighResolutionNet) -> list[list[GatedUnit]]:
    """Return the units in the order of computation, those of parallel branches together."""
    exchanges = [module for module in net.modules() if isinstance(module, Exchange)]
    return [
        [unit for unit in units if isinstance(unit, GatedUnit)]
        for exchange in exchanges
        for units in zip(*(branch.children() for branch in exchange.branches), strict=True)
    ]


def _values(
    net: nn.Module, images: Sequence[Crops], *groups: Sequence[nn.Module]
) -> list[tuple[Tensor, ...]]:
    """Return the sampled outputs of the groups' modules, one tuple for each place in the groups."""
    modules = [(module, False) for group in groups for module in group]
    values = sample_values(net, images, modules)
    count = len(groups[0])
    return [tuple(values[index::count]) for index in range(count)]


def _refit(unit: GatedUnit, hidden: Tensor, target: Tensor, width: int) -> None:
    """Keep the inner channels that matter most, and mix them into the target."""
    order, _ = removal_order(hidden, target)
    kept = torch.tensor(sorted(order[len(order) - width :]))
    weights, mean = fit_mix(hidden[:, kept], target)
    for layer in (unit.expand, unit.depthwise):
        assert layer.bias is not None
        layer.weight = nn.Parameter(layer.weight[kept].clone())
        layer.bias = nn.Parameter(layer.bias[kept].clone())
        layer.out_channels = width
    unit.depthwise.in_channels = unit.depthwise.groups = unit.mix.in_channels = width
    unit.mix.weight = nn.Parameter(weights.T[:, :, None, None].float().clone())
    assert unit.mix.bias is not None
    unit.mix.bias.copy_((mean - hidden[:, kept].double().mean(0) @ weights).float())
