"""Read PP-TinyPose's published ONNX graph into the high-resolution network, exactly.

The graph's shuffles, splits and concatenations become an order of channels, its doubled sums a
factor in the weights, so the function stays equal but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from slimpose.geometry import CellAlignment
from slimpose.network.high_resolution import (
    Exchange,
    GatedUnit,
    HighResolutionNet,
    HighResolutionSpec,
)
from slimpose.network.published.graph import PublishedGraph, Weights

TINYPOSE = HighResolutionSpec(inner_widths=(20, 40, 80, 160))
"""PP-TinyPose's network: a unit works on half of its branch's channels."""
ALIGNMENT: CellAlignment = "multiples"
"""Of PP-TinyPose's heatmaps; a network to import into is built with it."""
_SHUFFLE = ("Reshape", "Transpose", "Reshape")


@dataclass(frozen=True, slots=True)
class _Map:
    """A tensor of the graph; its channel k is this network's ``order[k]``."""

    tensor: str
    order: Tensor


def import_tinypose(path: Path, net: HighResolutionNet) -> None:
    """Load PP-TinyPose's weights from its ONNX graph into a network of ``TINYPOSE``'s widths.

    The network must have been built with ``ALIGNMENT``.

    Raises:
        ValueError: If the file is not that graph; with the first place that differs.
    """
    with torch.no_grad():
        _Import(PublishedGraph(path, "PP-TinyPose")).network(net)


class _Import:
    """Copies a graph's weights part by part; each method returns the maps after its part."""

    def __init__(self, graph: PublishedGraph) -> None:
        self._graph = graph

    def network(self, net: HighResolutionNet) -> None:
        graph = self._graph
        stem = self._stem(net, graph.inputs[0])
        maps = [self._sequence(net.starts[0], stem), self._sequence(net.starts[1], stem)]
        for number, stage in enumerate(net.stages):
            if number:
                maps.append(self._sequence(net.starts[number + 1], maps[-1]))
            for exchange in stage:  # pyright: ignore[reportGeneralTypeIssues]
                maps = self._exchange(exchange, maps)
        merged = maps[-1]
        for layers, finer in zip(list(net.head)[:-1], maps[-2::-1], strict=True):
            enlarged = self._sequence(layers, merged, into=finer)
            resized = graph.after(enlarged.tensor, "Resize")
            added = graph.after(resized, "Add", finer.tensor)
            merged = _Map(added, finer.order)
        merged = self._sequence(net.head[-1], merged)
        last = self._sequence(nn.Sequential(net.to_heatmaps), merged)
        if last.tensor not in graph.outputs:
            raise ValueError(
                f"{graph.path} goes on after {last.tensor}; expected heatmaps as its output"
            )

    def _stem(self, net: HighResolutionNet, tensor: str) -> _Map:
        stem = net.stem
        half = net.spec.stem_width // 2
        both = nn.Conv2d(3, 2 * half, 3, stride=2, padding=1)
        pixels = _Map(tensor, torch.arange(3))
        halves = self._halves(self._sequence(nn.Sequential(both, nn.ReLU()), pixels))
        assert both.bias is not None
        ends: list[_Map] = []
        for path, source, weight, bias in zip(
            (stem.left, stem.right), halves, both.weight.chunk(2), both.bias.chunk(2), strict=True
        ):
            path[0].load_state_dict({"weight": weight, "bias": bias})
            ends.append(self._sequence(path[2:], _Map(source.tensor, torch.arange(half))))
        left, right = ends
        order = torch.stack([left.order, right.order + half], dim=1).flatten()
        return _Map(self._shuffled(left.tensor, right.tensor), order)

    def _halves(self, source: _Map) -> tuple[_Map, _Map]:
        (split,) = self._graph.readers(source.tensor, "Split")
        half = len(source.order) // 2
        return (
            _Map(split.output[0], source.order[:half]),
            _Map(split.output[1], source.order[half:]),
        )

    def _shuffled(self, left: str, right: str) -> str:
        tensor = self._graph.after(left, "Concat", right)
        for operator in _SHUFFLE:
            tensor = self._graph.after(tensor, operator)
        return tensor

    def _unit(self, unit: GatedUnit, source: _Map) -> _Map:
        passed, changed = self._halves(source)
        half = len(passed.order)
        template = nn.Sequential(
            nn.Conv2d(half, half, 1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1, groups=half),
            nn.Conv2d(half, half, 1),
            nn.ReLU(),
        )
        plain = _Map(changed.tensor, torch.arange(half))
        result = self._sequence(template, plain)
        expand, depthwise, mix = (layer for layer in template if isinstance(layer, nn.Conv2d))
        unit.expand.weight.zero_()
        unit.expand.weight[:, changed.order] = expand.weight
        assert expand.bias is not None
        assert mix.bias is not None
        assert unit.expand.bias is not None
        assert unit.mix.bias is not None
        unit.expand.bias.copy_(expand.bias)
        unit.depthwise.load_state_dict(depthwise.state_dict())
        for parameter in (*unit.mix.parameters(), unit.gate.weight):
            parameter.zero_()
        unit.mix.weight[changed.order] = mix.weight
        unit.mix.bias[changed.order] = mix.bias
        unit.gate.weight[passed.order] = 1.0
        order = torch.stack([passed.order, changed.order], dim=1).flatten()
        return _Map(self._shuffled(passed.tensor, result.tensor), order)

    def _exchange(self, exchange: Exchange, maps: list[_Map]) -> list[_Map]:
        graph = self._graph
        for index, branch in enumerate(exchange.branches):
            for unit in branch:  # pyright: ignore[reportGeneralTypeIssues]
                maps[index] = self._unit(unit, maps[index])
        # The graph doubles what branch 0 adds: here the branch's last unit returns the double.
        last = list(exchange.branches[0].children())[-1]
        assert isinstance(last, GatedUnit)
        for parameter in (*last.mix.parameters(), *last.gate.parameters()):
            parameter.mul_(2.0)
        doubled = _Map(graph.after(maps[0].tensor, "Add", maps[0].tensor), maps[0].order)
        sums = [self._row(exchange.rows[0], doubled, maps)]
        for target in range(1, len(maps)):
            row = exchange.rows[target]
            reduced = self._sequence(
                row["0"],  # pyright: ignore[reportIndexIssue]
                sums[0],
                into=maps[target],
                factor=2.0,
                accepts=lambda tensor: any(
                    list(node.input) == [tensor, tensor] for node in graph.readers(tensor, "Add")
                ),
            )
            twice = graph.after(reduced.tensor, "Add", reduced.tensor)
            start = _Map(twice, maps[target].order)
            sums.append(self._row(row, start, maps))
        return [_Map(graph.after(s.tensor, "Relu"), s.order) for s in sums]

    def _row(self, row: nn.Module, total: _Map, maps: list[_Map]) -> _Map:
        """Add all branches but the finest to a sum, in the graph's order."""
        graph = self._graph
        for source, features in enumerate(maps[1:], start=1):
            layers = dict(row.named_children()).get(str(source))
            added = features.tensor
            if layers is not None:
                is_coarser = isinstance(layers, nn.Conv2d)
                reached = total.tensor

                def accepts(
                    tensor: str, reached: str = reached, is_coarser: bool = is_coarser
                ) -> bool:
                    outputs = [tensor]
                    if is_coarser:
                        outputs = [n.output[0] for n in graph.readers(tensor, "Resize")]
                    return any(
                        reached in node.input
                        for output in outputs
                        for node in graph.readers(output, "Add")
                    )

                chain = nn.Sequential(layers) if is_coarser else layers
                added = self._sequence(chain, features, into=total, accepts=accepts).tensor
                added = graph.after(added, "Resize") if is_coarser else added
            total = _Map(graph.after(total.tensor, "Add", added), total.order)
        return total

    def _sequence(
        self,
        layers: nn.Module,
        source: _Map,
        *,
        into: _Map | None = None,
        factor: float = 1.0,
        accepts: Callable[[str], bool] = lambda tensor: True,
    ) -> _Map:
        """Copy a sequence of convolutions and ReLUs that reads a map; return the map after it.

        The result has the channel order of ``into``, by default the graph's own, and
        ``factor`` times the graph's value. Of several paths of these shapes, the one whose end is
        accepted is taken.
        """
        chain = [layer for layer in layers.modules() if isinstance(layer, (nn.Conv2d, nn.ReLU))]
        weights, end = self._graph.path_after(chain, source.tensor, accepts)
        convolutions = [layer for layer in chain if isinstance(layer, nn.Conv2d)]
        for number, (layer, graph_weights) in enumerate(zip(convolutions, weights, strict=True)):
            is_last = number == len(convolutions) - 1
            source = _copy(layer, graph_weights, source, into if is_last else None)
            if is_last and factor != 1.0:
                layer.weight.mul_(factor)
                layer.bias.mul_(factor)  # pyright: ignore[reportOptionalMemberAccess]
        return _Map(end, source.order)


def _copy(layer: nn.Conv2d, weights: Weights, source: _Map, into: _Map | None) -> _Map:
    """Copy a convolution's weights for the stored order of its input and output."""
    weight, bias = weights.weight, weights.bias
    if layer.groups > 1:
        target = source
        stored = torch.empty_like(weight)
        stored[source.order] = weight
    else:
        target = into or _Map(source.tensor, torch.arange(len(weight)))
        stored = torch.empty_like(weight)
        rows = torch.empty_like(weight)
        rows[target.order] = weight
        stored[:, source.order] = rows
    layer.weight.copy_(stored)
    assert layer.bias is not None
    layer.bias[target.order] = bias
    return target
