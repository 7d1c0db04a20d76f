"""Cross-layer equalization: channels rescaled so that one scale per tensor suits all of them.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import groups_of, tensors_by_image

_PASSES = 20
_MAX_FACTOR = 1e3
"""Largest factor, up or down, that a channel is scaled by in one pass."""
_DEAD_SHARE = 1e-6
"""A channel is dead if it contributes at most this share of the strongest to the next layer."""
_IMAGES = 256


def channel_peaks(
    network: onnx.ModelProto, images: Crops, *, threads: int | None
) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel between two convolutions, by tensor.

    Of a network from pixels to maps, on the first _IMAGES of uint8 images (n, H, W, 3).
    """
    pairs = _pairs(network, {entry.name: entry for entry in network.graph.initializer})
    names = [second.input[0] for _, second, _ in pairs]
    peaks = dict.fromkeys(names, np.zeros(1))
    for tensors in tensors_by_image(network, names, images[:_IMAGES], threads=threads):
        for name, tensor in tensors.items():
            peaks[name] = np.maximum(peaks[name], np.abs(tensor).max(axis=(0, 2, 3)))
    return peaks


def equalize(model: onnx.ModelProto, peaks: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return an equivalent copy whose channels between two convolutions have similar ranges.

    Each output channel of a convolution is divided by the factor that the next one's weights are
    multiplied by, if nothing else reads it and at most a ReLU is between them. ReLU6 would clip
    elsewhere, so that nothing is scaled there. Dead channels, which are always 0 or are not used,
    are set to 0: training leaves them with weights of any size, and a single one would determine
    the scale of the whole tensor. ``peaks`` are those of ``channel_peaks``.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {entry.name: entry for entry in copy.graph.initializer}
    pairs = _pairs(copy, constants)
    values = {
        name: numpy_helper.to_array(constants[name]).astype(np.float64)
        for pair in pairs
        for node in pair[:2]
        for name in node.input[1:]
    }
    for first, second, _ in reversed(pairs):  # a channel read only by dead ones is dead
        _zero_dead_channels(first, second, values, peaks[second.input[0]])
    for _ in range(_PASSES):
        for first, second, scales in pairs:
            if scales:
                _balance(first, second, values)
    for name, value in values.items():
        constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return copy


def _zero_dead_channels(
    first: onnx.NodeProto, second: onnx.NodeProto, values: dict[str, np.ndarray], peak: np.ndarray
) -> None:
    """Set the weights of dead channels between two layers to 0, on both sides."""
    weight, reader = values[first.input[1]], values[second.input[1]]
    contribution = peak * _by_input(second, reader)
    alive = (contribution > _DEAD_SHARE * contribution.max()).astype(np.float64)
    values[first.input[1]] = weight * _over_outputs(first, alive)
    for name in first.input[2:]:
        values[name] = values[name] * alive
    values[second.input[1]] = reader * _over_inputs(second, alive, reader)


def _balance(first: onnx.NodeProto, second: onnx.NodeProto, values: dict[str, np.ndarray]) -> None:
    """Scale the channels between two layers so that the largest weights on both sides are equal."""
    weight, reader = values[first.input[1]], values[second.input[1]]
    written = _by_output(first, weight)
    read = _by_input(second, reader)
    scale = np.sqrt(written / np.where(read > 0, read, 1))
    scale = np.where((written > 0) & (read > 0), np.clip(scale, 1 / _MAX_FACTOR, _MAX_FACTOR), 1.0)
    values[first.input[1]] = weight / _over_outputs(first, scale)
    for name in first.input[2:]:
        values[name] = values[name] / scale
    values[second.input[1]] = reader * _over_inputs(second, scale, reader)


def _by_output(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """Return the largest absolute weight of each output channel."""
    return np.abs(weight).max(axis=(1, 2, 3) if node.op_type == "Conv" else (0, 2, 3))


def _by_input(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """Return the largest absolute weight on each input channel."""
    largest = np.abs(weight).max(axis=(2, 3))
    if node.op_type == "ConvTranspose":
        return largest.max(axis=1)
    groups = groups_of(node)
    return largest.reshape(groups, -1, weight.shape[1]).max(axis=1).ravel()


def _over_outputs(node: onnx.NodeProto, factor: np.ndarray) -> np.ndarray:
    """Return a factor per output channel in a shape that multiplies the weights."""
    return factor[:, None, None, None] if node.op_type == "Conv" else factor[None, :, None, None]


def _over_inputs(node: onnx.NodeProto, factor: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a factor per input channel in a shape that multiplies the weights."""
    if node.op_type == "ConvTranspose":
        return factor[:, None, None, None]
    groups = groups_of(node)
    by_group = factor.reshape(groups, 1, weight.shape[1])
    return np.broadcast_to(by_group, (groups, len(weight) // groups, weight.shape[1])).reshape(
        len(weight), weight.shape[1], 1, 1
    )


def _pairs(
    model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]
) -> Sequence[tuple[onnx.NodeProto, onnx.NodeProto, bool]]:
    """Return convolutions whose output only one other reads, and whether they may be rescaled."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
            uses[name] = uses.get(name, 0) + 1
    outputs = {tensor.name for tensor in model.graph.output}

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

    pairs: list[tuple[onnx.NodeProto, onnx.NodeProto, bool]] = []
    for node in model.graph.node:
        if not is_layer(node):
            continue
        after = only_reader(node.output[0])
        scales = after is None or after.op_type != "Clip"
        if after is not None and after.op_type in ("Relu", "Clip"):
            after = only_reader(after.output[0])
        if after is not None and is_layer(after):
            pairs.append((node, after, scales))
    return pairs
