"""Read PicoDet-S's published ONNX graph into the pyramid detector, exactly.

The graph detects people only: it keeps one class of PicoDet's 80.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from slimpose.network.published.graph import PublishedGraph
from slimpose.network.pyramid_detector import (
    Head,
    Neck,
    PyramidDetector,
    Separable,
    SqueezeExcite,
)


def import_picodet(path: Path, net: PyramidDetector) -> None:
    """Load PicoDet-S's weights from its ONNX graph into a network of the default spec.

    Raises:
        ValueError: If the file is not that graph; with the first place that differs.
    """
    with torch.no_grad():
        _Import(PublishedGraph(path, "PicoDet-S")).network(net)


class _Import:
    """Copies a graph's weights part by part; each method returns the tensors after its part."""

    def __init__(self, graph: PublishedGraph) -> None:
        self._graph = graph

    def network(self, net: PyramidDetector) -> None:
        tensor = self._sequence(net.trunk.first, self._graph.inputs[0])
        maps: list[str] = []
        for stage in net.trunk.stages:
            tensor = self._chain(stage, tensor)
            maps.append(tensor)
        for head, scale in zip(net.heads, self._neck(net.neck, maps[-3:]), strict=True):
            assert isinstance(head, Head)
            self._head(head, scale)

    def _neck(self, neck: Neck, maps: Sequence[str]) -> list[str]:
        graph = self._graph
        fine, middle, coarse = (
            self._sequence(layer, tensor, lambda end: bool(graph.readers(end, "Concat")))
            for layer, tensor in zip(neck.lateral, maps, strict=True)
        )
        merged = self._chain(neck.top_down[0], self._joined(self._resized(coarse), middle))
        fine = self._chain(neck.top_down[1], self._joined(self._resized(merged), fine))
        reduced = self._chain(neck.reduce[0], fine)
        middle = self._chain(neck.bottom_up[0], self._joined(reduced, merged))
        reduced = self._chain(neck.reduce[1], middle)
        last = self._chain(neck.bottom_up[1], self._joined(reduced, coarse))
        first, second = (
            self._chain(layer, tensor)
            for layer, tensor in zip(neck.coarsest, (coarse, last), strict=True)
        )
        return [fine, middle, last, graph.after(first, "Add", second)]

    def _head(self, head: Head, tensor: str) -> None:
        graph = self._graph
        tensor = self._chain(head.towers, tensor)
        mean = graph.after(tensor, "ReduceMean")
        gate = graph.after(self._sequence(nn.Sequential(head.excite), mean), "Sigmoid")
        mixed = self._sequence(head.mix, graph.after(tensor, "Mul", gate))
        self._aligned(head, tensor)
        for layer in (head.score, head.edges):
            self._sequence(nn.Sequential(layer), mixed)

    def _aligned(self, head: Head, tensor: str) -> None:
        """Split a 5x5 convolution to one channel into one per channel and their sum."""
        whole = nn.Conv2d(head.total.in_channels, 1, 5, padding=2)
        self._sequence(nn.Sequential(whole, nn.Hardswish(), head.aligned), tensor)
        assert whole.bias is not None
        assert head.total.bias is not None
        head.per_channel.weight.copy_(whole.weight.transpose(0, 1))
        head.total.weight.fill_(1)
        head.total.bias.copy_(whole.bias)

    def _resized(self, tensor: str) -> str:
        return self._graph.after(tensor, "Resize")

    def _joined(self, first: str, second: str) -> str:
        return self._graph.after(first, "Concat", second)

    def _chain(self, blocks: nn.Module, tensor: str) -> str:
        for block in blocks.modules():
            if isinstance(block, Separable):
                tensor = self._separable(block, tensor)
        return tensor

    def _separable(self, block: Separable, tensor: str) -> str:
        if not isinstance(block.excite, SqueezeExcite):
            return self._sequence(nn.Sequential(block.depthwise, block.pointwise), tensor)
        graph = self._graph
        tensor = self._sequence(block.depthwise, tensor)
        squeeze = nn.Sequential(block.excite.squeeze, nn.ReLU(), block.excite.excite)
        hidden = self._sequence(squeeze, graph.after(tensor, "ReduceMean"))
        gate = graph.after(hidden, "HardSigmoid")
        for parameter in block.excite.excite.parameters():
            parameter.mul_(6 * graph.attribute(gate, "alpha", 0.2))  # PyTorch's slope is 1/6
        return self._sequence(block.pointwise, graph.after(tensor, "Mul", gate))

    def _sequence(
        self,
        layers: nn.Module,
        tensor: str,
        accepts: Callable[[str], bool] = lambda end: True,
    ) -> str:
        chain = [
            layer
            for layer in layers.modules()
            if isinstance(layer, (nn.Conv2d, nn.Hardswish, nn.ReLU))
        ]
        weights, end = self._graph.path_after(chain, tensor, accepts)
        convolutions = [layer for layer in chain if isinstance(layer, nn.Conv2d)]
        for layer, stored in zip(convolutions, weights, strict=True):
            layer.weight.copy_(stored.weight)
            assert layer.bias is not None
            layer.bias.copy_(stored.bias)
        return end
