"""Give the channels of each map of a high-resolution network equal ranges, exactly.

ReLU passes a positive factor on, so a channel may be divided by any number where it is written and
multiplied by it where it is read. Channels that many sums have passed are hundreds of times larger
than others: 8 bits per tensor are too few for both, and one learning rate per tensor does not fit
both. With equal ranges the function is the same.

Source:
    Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction", ICCV
    2019 (there between pairs of layers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.network.high_resolution import Exchange, GatedUnit, HighResolutionNet

_LEAST_SHARE = 1e-4
"""Channels of a smaller range, as a share of the largest of their map, are set to zero.

Channels that are never active have weights of any size: batch norm divided them by nearly nothing.
"""


@dataclass(slots=True)
class _Map:
    """The convolutions that write a map, each from a channel on, and those that read it."""

    writers: list[tuple[nn.Conv2d, int]] = field(default_factory=list)
    readers: list[tuple[nn.Conv2d, int]] = field(default_factory=list)

    def write(self, convolution: nn.Conv2d, first: int = 0) -> None:
        self.writers.append((convolution, first))

    def read(self, *convolutions: nn.Conv2d, first: int = 0) -> None:
        self.readers += [(convolution, first) for convolution in convolutions]


@torch.no_grad()
def equalize_channels(net: HighResolutionNet, images: Sequence[Crops]) -> None:
    """Rescale the channels of a trained network in place.

    The images are uint8 batches (n, H, W, 3), some dozens in total.
    """
    maps = _maps(net)
    ranges: dict[nn.Conv2d, Tensor] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        largest = inputs[0].abs().amax(dim=(0, 2, 3))
        known = ranges.get(cast(nn.Conv2d, layer))
        ranges[cast(nn.Conv2d, layer)] = largest if known is None else torch.maximum(known, largest)

    readers = {layer for one in maps for layer, _ in one.readers}
    hooks = [layer.register_forward_hook(record) for layer in readers]
    for batch in images:
        net(torch.from_numpy(batch))
    for hook in hooks:
        hook.remove()
    for one in maps:
        _rescale(one, ranges)


def _rescale(one: _Map, ranges: dict[nn.Conv2d, Tensor]) -> None:
    channels = max(first + layer.out_channels for layer, first in one.writers)
    largest = torch.zeros(channels)
    for layer, first in one.readers:
        part = slice(first, first + layer.in_channels)
        largest[part] = torch.maximum(largest[part], ranges[layer])
    active = largest > _LEAST_SHARE * float(largest.max())
    scale = torch.where(active, largest, 1.0)
    scale[active] /= scale[active].log().mean().exp()  # the map's magnitude stays
    for layer, first in one.writers:
        own = _column(active / scale, first, layer.out_channels)
        layer.weight *= own
        if layer.bias is not None:
            layer.bias *= own.flatten()
    for layer, first in one.readers:
        own = _column(active * scale, first, layer.in_channels)
        layer.weight *= own if layer.groups > 1 else own[:, 0]


def _column(values: Tensor, first: int, count: int) -> Tensor:
    return values[first : first + count, None, None, None]


def _maps(net: HighResolutionNet) -> list[_Map]:
    """Return every map of the network whose channels have a scale of their own."""
    maps: list[_Map] = []
    stem = _stem(net, maps)
    branches = [_after(net.starts[0], stem, maps), _after(net.starts[1], stem, maps)]
    for number, stage in enumerate(net.stages):
        if number:
            branches.append(_after(net.starts[number + 1], branches[-1], maps))
        for exchange in cast(nn.ModuleList, stage):
            assert isinstance(exchange, Exchange)
            branches = _after_exchange(exchange, branches, maps)
    merged = branches[-1]
    for layers, finer in zip(list(net.head)[:-1], branches[-2::-1], strict=True):
        _after(layers, merged, maps, into=finer)
        merged = finer
    _after(net.head[-1], merged, maps).read(net.to_heatmaps)
    return maps


def _convolutions(layers: nn.Module) -> Iterator[nn.Conv2d]:
    return (layer for layer in layers.modules() if isinstance(layer, nn.Conv2d))


def _after(layers: nn.Module, source: _Map, maps: list[_Map], *, into: _Map | None = None) -> _Map:
    """Follow a sequence of convolutions; return the map after it, which is added ``into`` one."""
    chain = list(_convolutions(layers))
    for layer in chain[:-1]:
        source.read(layer)
        source = _Map()
        source.write(layer)
        maps.append(source)
    source.read(chain[-1])
    result = into
    if result is None:
        result = _Map()
        maps.append(result)
    result.write(chain[-1])
    return result


def _stem(net: HighResolutionNet, maps: list[_Map]) -> _Map:
    stem, half = net.stem, net.stem.first.out_channels // 2
    first, joined = _Map(), _Map()
    first.write(stem.first)
    maps += [first, joined]
    for layers, offset in ((stem.left, 0), (stem.right, half)):
        head, *rest = _convolutions(layers)
        first.read(head, first=offset)
        source = _Map()
        source.write(head)
        maps.append(source)
        for layer in rest[:-1]:
            source.read(layer)
            source = _Map()
            source.write(layer)
            maps.append(source)
        source.read(rest[-1])
        joined.write(rest[-1], offset)
    return joined


def _after_exchange(exchange: Exchange, branches: list[_Map], maps: list[_Map]) -> list[_Map]:
    results: list[_Map] = []
    for branch, start in zip(exchange.branches, branches, strict=True):
        source = start
        for unit in cast(nn.Sequential, branch):
            assert isinstance(unit, GatedUnit)
            source.read(unit.expand, unit.gate)
            result = _Map()
            for before, after in ((unit.expand, unit.depthwise), (unit.depthwise, unit.mix)):
                hidden = _Map()
                hidden.write(before)
                hidden.read(after)
                maps.append(hidden)
            result.write(unit.mix)
            result.write(unit.gate)
            maps.append(result)
            source = result
        results.append(source)
    # A branch's sum has the scale of its last unit, which is added as it is.
    for target, row in zip(results, exchange.rows, strict=True):
        for name, layers in cast(nn.ModuleDict, row).items():
            _after(layers, results[int(name)], maps, into=target)
    return results
