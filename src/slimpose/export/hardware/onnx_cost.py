"""Multiply-adds and parameters of an ONNX file.

Counted are convolutions, transposed convolutions and matrix products, quantized ones too. Not
counted, as in ``slimpose.network.cost``: biases, activations, additions, pooling, resizing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from slimpose.export.hardware.graph import Node, read_graph
from slimpose.export.hardware.layers import Shape

_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""The input that holds the weights."""
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}
"""The input that holds the second factor; the first is input 0."""
_BIASES = {"Conv": 2, "FusedConv": 2, "QLinearConv": 8, "ConvTranspose": 2, "Gemm": 2}
_LEFT_OUT = frozenset(
    {"Attention", "Einsum", "GRU", "If", "LSTM", "Loop", "MultiHeadAttention", "RNN", "Scan"}
)
"""Operators that multiply too, but are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxCost:
    """Cost of one input.

    Attributes:
        macs: True multiply-adds: weight elements times output pixels for a convolution, times INPUT
            pixels for a transposed one.
        params: Weights and biases of the counted layers, each tensor once.
        left_out: Operators in the graph that multiply but are not counted.
    """

    macs: int
    params: int
    left_out: tuple[str, ...]

    @property
    def gmac(self) -> float:
        """Multiply-adds in 1e9."""
        return self.macs / 1e9


def cost_of_onnx(path: Path) -> OnnxCost:
    """Return the cost of one input of an ONNX file; a free first dimension (the batch) counts as 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or a layer's shape does not follow from the inputs'.
    """
    graph = read_graph(path, keep_free=True)

    def shape(node: Node, name: str) -> Shape:
        known = graph.shapes.get(name)
        if known is None or 0 in known:
            raise ValueError(
                f"{path}: the shape of {name!r} at {node.operator} {node.name!r} is not known; "
                "expected a graph whose inputs have fixed sizes except for the batch"
            )
        return known

    macs, params, left_out = 0, dict[str, int](), set[str]()
    for node in graph.nodes:
        operator = node.operator.rpartition("::")[2]
        if operator in _CONVOLUTIONS:
            learned = [_CONVOLUTIONS[operator]]
            maps = shape(node, (node.inputs if operator == "ConvTranspose" else node.outputs)[0])
            macs += maps[0] * prod(shape(node, node.inputs[learned[0]])) * prod(maps[2:])
        elif operator in _PRODUCTS:
            learned = [0, _PRODUCTS[operator]]
            factor = shape(node, node.inputs[0])
            summed = factor[-2 if node.attributes.get("transA") else -1]
            macs += prod(shape(node, node.outputs[0])) * summed
        else:
            left_out |= {operator} & _LEFT_OUT
            continue
        learned += [_BIASES[operator]] if operator in _BIASES else []
        for name in (node.inputs[place] for place in learned if place < len(node.inputs)):
            if name in graph.constants:
                params[name] = prod(shape(node, name))
    return OnnxCost(macs=macs, params=sum(params.values()), left_out=tuple(sorted(left_out)))
