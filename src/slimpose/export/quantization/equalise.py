"""Channels of neighbouring layers brought to like ranges, so that one scale serves all of a tensor's.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.export.quantization.graph import groups_of

_PASSES = 20
_MOST = 1e3
"""How far a channel may be scaled, both ways, in one pass."""


def equalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes the same, in which the channels between two convolutions have like ranges.

    A convolution's output channel is divided by what the next one's weights are multiplied by, where only that one
    reads it, behind a ReLU or nothing. ReLU6 would cut elsewhere: there nothing is scaled.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {entry.name: entry for entry in copy.graph.initializer}
    pairs = _pairs(copy, constants)
    values = {
        name: numpy_helper.to_array(constants[name]).astype(np.float64)
        for pair in pairs
        for node in pair
        for name in node.input[1:]
    }
    for _ in range(_PASSES):
        for first, second in pairs:
            _balance(first, second, values)
    for name, value in values.items():
        constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return copy


def _balance(first: onnx.NodeProto, second: onnx.NodeProto, values: dict[str, np.ndarray]) -> None:
    """Scale the channels between two layers so that the largest weights on both sides are alike."""
    weight, reader = values[first.input[1]], values[second.input[1]]
    is_plain = first.op_type == "Conv"
    given = np.abs(weight).max(axis=(1, 2, 3) if is_plain else (0, 2, 3))
    taken = _by_input(second, reader)
    scale = np.sqrt(given / np.where(taken > 0, taken, 1))
    scale = np.where((given > 0) & (taken > 0), np.clip(scale, 1 / _MOST, _MOST), 1.0)
    values[first.input[1]] = weight / (scale[:, None, None, None] if is_plain else scale[None, :, None, None])
    for name in first.input[2:]:
        values[name] = values[name] / scale
    values[second.input[1]] = reader * _spread(second, scale, reader)


def _by_input(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """The largest weight that reads each input channel."""
    largest = np.abs(weight).max(axis=(2, 3))
    if node.op_type == "ConvTranspose":
        return largest.max(axis=1)
    groups = groups_of(node)
    return largest.reshape(groups, -1, weight.shape[1]).max(axis=1).ravel()


def _spread(node: onnx.NodeProto, scale: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The scale of each input channel, in the shape of the weights that read it."""
    if node.op_type == "ConvTranspose":
        return scale[:, None, None, None]
    groups = groups_of(node)
    by_group = scale.reshape(groups, 1, weight.shape[1])
    return np.broadcast_to(by_group, (groups, len(weight) // groups, weight.shape[1])).reshape(
        len(weight), weight.shape[1], 1, 1
    )


def _pairs(
    model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]
) -> Sequence[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Convolutions that alone read another's output."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
            uses[name] = uses.get(name, 0) + 1
    outputs = {put.name for put in model.graph.output}

    def only_reader(name: str) -> onnx.NodeProto | None:
        found = readers.get(name, [])
        return found[0] if len(found) == 1 and name not in outputs else None

    def is_layer(node: onnx.NodeProto | None) -> bool:
        return (
            node is not None
            and node.op_type in ("Conv", "ConvTranspose")
            and all(name in constants and uses[name] == 1 for name in node.input[1:])
            and (node.op_type == "Conv" or groups_of(node) == 1)
        )

    pairs: list[tuple[onnx.NodeProto, onnx.NodeProto]] = []
    for node in model.graph.node:
        if not is_layer(node):
            continue
        after = only_reader(node.output[0])
        if after is not None and after.op_type == "Relu":
            after = only_reader(after.output[0])
        if after is not None and is_layer(after):
            pairs.append((node, after))
    return pairs
