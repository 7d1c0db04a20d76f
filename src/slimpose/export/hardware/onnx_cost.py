"""What an ONNX graph costs on one input, whoever wrote it: true multiply-adds and weights.

Counted are convolutions, transposed convolutions and matrix products, quantized ones too. Not
counted, as in ``slimpose.network.cost``: biases, activations, additions, pooling, resizing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

_WEIGHT_AT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Convolutions, and which input holds their weights."""
_PRODUCT_AT = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1)}
_BIAS_AT = {"Conv": 2, "FusedConv": 2, "QLinearConv": 8, "ConvTranspose": 2, "Gemm": 2}
_LEFT_OUT = frozenset(
    {"Attention", "Einsum", "GRU", "If", "LSTM", "Loop", "MultiHeadAttention", "RNN", "Scan"}
)
"""Operators that multiply too, in ways that are not followed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxCost:
    """Cost of one input.

    Attributes:
        macs: Multiply-adds where they are computed: weight elements times output pixels for a
            convolution, times INPUT pixels for a transposed one.
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
    """Count one input of an ONNX file; a free first axis (the batch) is taken as 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file, or a layer's shape does not follow from the inputs'.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        model = onnx.load(str(path))
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{path} is not an ONNX file: {error}") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    for given in model.graph.input:
        shape = given.type.tensor_type.shape.dim
        if given.name not in weights and shape and not shape[0].dim_value:
            shape[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return _Counter(graph, path).count()


class _Counter:
    """One graph with the shapes that are known of its tensors."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self._graph, self._path = graph, path
        self._shapes: dict[str, list[int]] = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        self._constant = {tensor.name for tensor in graph.initializer}
        for node in (
            graph.node
        ):  # in the order of computation: a Cast or DequantizeLinear of a weight is one too
            if all(name in self._constant for name in node.input if name):
                self._constant.update(node.output)

    def count(self) -> OnnxCost:
        macs, params, left_out = 0, {}, set[str]()
        for node in self._graph.node:
            if node.op_type in _WEIGHT_AT:
                macs += self._convolution(node)
                learned = [_WEIGHT_AT[node.op_type]]
            elif node.op_type in _PRODUCT_AT:
                macs += self._product(node)
                learned = list(_PRODUCT_AT[node.op_type])
            else:
                left_out |= {node.op_type} & _LEFT_OUT
                continue
            learned += [_BIAS_AT[node.op_type]] if node.op_type in _BIAS_AT else []
            for name in (node.input[place] for place in learned if place < len(node.input)):
                if name in self._constant:
                    params[name] = math.prod(self._shape(node, name))
        return OnnxCost(macs=macs, params=sum(params.values()), left_out=tuple(sorted(left_out)))

    def _convolution(self, node: onnx.NodeProto) -> int:
        """Weights are (out, in/groups, ...), a transposed one's (in, out/groups, ...)."""
        weight = self._shape(node, node.input[_WEIGHT_AT[node.op_type]])
        maps = self._shape(
            node, node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
        )
        return maps[0] * math.prod(weight) * math.prod(maps[2:])

    def _product(self, node: onnx.NodeProto) -> int:
        left = self._shape(node, node.input[_PRODUCT_AT[node.op_type][0]])
        turned = any(field.name == "transA" and field.i for field in node.attribute)
        return math.prod(self._shape(node, node.output[0])) * (left[-2] if turned else left[-1])

    def _shape(self, node: onnx.NodeProto, name: str) -> Sequence[int]:
        shape = self._shapes.get(name)
        if shape is None or 0 in shape:
            raise ValueError(
                f"{self._path}: the shape of {name!r} at {node.op_type} {node.name!r} is not known; expected a graph "
                "whose inputs have fixed sizes but for the batch"
            )
        return shape
