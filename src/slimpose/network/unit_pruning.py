"""Prune the units of a high-resolution network: fewer inner channels, and the rest refitted.

First the last convolution is refitted by least squares, then the whole unit by gradient descent,
each unit by itself: a problem of three layers, which converges in seconds. With this the heatmaps
of PP-TinyPose pruned to 16, 32, 80 and 160 inner channels differ by 2.4 % of their energy, by least
squares alone by 3.6 % (docs/experiments.md).

Source:
    Li et al., "BRECQ", ICLR 2021 (reconstruction block by block, there of quantized networks).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.network.channel_selection import fit_mix, removal_order, sample_values
from slimpose.network.high_resolution import Exchange, GatedUnit, HighResolutionNet

_BATCH = 8
_RATE = 3e-3
"""Learning rate relative to the magnitude of a weight; a fifth of it for biases."""
_MIN_MAGNITUDE = 1e-2


def prune_units(
    net: HighResolutionNet,
    images: Sequence[Crops],
    *,
    inner_widths: tuple[int, ...],
    steps: int = 300,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HighResolutionNet:
    """Return a copy of a trained network whose units have fewer inner channels.

    As in ``network/pruning.py``, channels are removed one by one, each time the one that the others
    can replace best, and the rest is refitted to the maps of the network of before. Units at the
    same depth of different branches do not depend on each other.

    Args:
        net: Trained.
        images: uint8 batches (n, H, W, 3) of its size, a hundred images in total.
        inner_widths: Of each branch, finest first. ONNX Runtime computes 16 channels at a time.
        steps: Gradient steps of 8 images for each pruned unit.
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
    original, net = net.eval(), copy.deepcopy(net).eval()
    width_of = dict(zip(net.spec.widths, inner_widths, strict=True))
    groups = [
        [pair for pair in zip(*pairs, strict=True) if _is_wider(pair[0], width_of)]
        for pairs in zip(_units_by_depth(net), _units_by_depth(original), strict=True)
    ]
    done, total = 0, sum(map(len, groups))
    for group in filter(None, groups):
        units, originals = zip(*group, strict=True)
        _shrink(net, original, units, originals, images, width_of)
        inputs = _maps(net, units, images, inputs=True)
        targets = _maps(original, originals, images)
        for unit, maps, target in zip(units, inputs, targets, strict=True):
            _reconstruct(unit, maps, target, steps=steps)
            done += 1
            on_progress(done, total)
    net.spec = dataclasses.replace(net.spec, inner_widths=inner_widths)
    return net


def _is_wider(unit: GatedUnit, width_of: Mapping[int, int]) -> bool:
    return unit.expand.out_channels > width_of[unit.mix.out_channels]


@torch.no_grad()
def _shrink(
    net: nn.Module,
    original: nn.Module,
    units: Sequence[GatedUnit],
    originals: Sequence[GatedUnit],
    images: Sequence[Crops],
    width_of: Mapping[int, int],
) -> None:
    """Remove inner channels of units that do not depend on each other; refit by least squares."""
    sums = _values(original, images, [u.mix for u in originals], [u.gate for u in originals])
    read = _values(net, images, [u.depthwise for u in units], [u.gate for u in units])
    for unit, (mixed, passed), (hidden, own) in zip(units, sums, read, strict=True):
        _refit(unit, hidden, mixed + passed - own, width_of[unit.mix.out_channels])


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


@torch.no_grad()
def _maps(
    net: nn.Module, modules: Sequence[nn.Module], images: Sequence[Crops], *, inputs: bool = False
) -> list[Tensor]:
    """Return the whole output maps (images, channels, h, w) of modules, or their input maps."""
    maps: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}

    def record(module: nn.Module, read: tuple[Tensor, ...], output: Tensor) -> None:
        maps[module].append(read[0] if inputs else output)

    hooks = [module.register_forward_hook(record) for module in modules]
    for batch in images:
        net(torch.from_numpy(batch))
    for hook in hooks:
        hook.remove()
    return [torch.cat(maps[module]) for module in modules]


def _reconstruct(unit: GatedUnit, maps: Tensor, target: Tensor, *, steps: int) -> None:
    """Fit a unit to target maps (images, channels, h, w) by Adam, with a cosine decay."""
    groups = []
    for parameter in unit.parameters():
        magnitude = float(parameter.detach().square().mean().sqrt().clamp_min(_MIN_MAGNITUDE))
        rate = _RATE * magnitude * (0.2 if parameter.ndim == 1 else 1.0)
        groups.append({"params": [parameter], "lr": rate})
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    rng, variance = torch.Generator().manual_seed(0), target.var().clamp_min(1e-12)
    for _ in range(steps):
        rows = torch.randint(len(maps), (_BATCH,), generator=rng)
        loss = (unit(maps[rows]) - target[rows]).square().mean() / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


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
