"""A float graph with Q/DQ pairs about chosen layers, by ONNX Runtime's quantizer; biases that pay for rounding."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from slimpose.arrays import Crops
from slimpose.export.quantization.calibration import OP_TYPES
from slimpose.export.quantization.graph import GraphParts, Runner, groups_of, with_outputs
from slimpose.export.quantization.pixel_input import pixel_input, read_pixels, shift_into_bias
from slimpose.export.quantization.schemes import AFFINE, Scheme, power_of_two, to_levels


def quantize_graph(
    model: onnx.ModelProto,
    ranges: TensorsData,
    parts: GraphParts,
    layers: Collection[str],
    scheme: Scheme = AFFINE,
) -> onnx.ModelProto:
    """Return a copy whose ``layers`` compute in INT8, rounded as the scheme says; everything else stays as it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = [node for node in copy.graph.node if node.name in layers]
    if scheme.power_of_two and scheme.rounds_biases:
        _round_biases(copy, nodes)
    options = scheme.options(copy, ranges, nodes)
    overrides = options["extra_options"]["TensorQuantOverrides"]
    pixels = pixel_input(copy, parts) if scheme.reads_pixels else None
    if pixels is not None and pixels.stem in layers:
        shift_into_bias(copy, pixels)
        levels = {
            "scale": np.array(pixels.scale, np.float32),
            "zero_point": np.array(pixels.zero_point, np.uint8),
        }
        overrides[pixels.normalized] = [levels]
    quantizer = QDQQuantizer(
        copy,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[*layers, *parts.passthrough],
        nodes_to_exclude=[],
        op_types_to_quantize=list(OP_TYPES),
        **options,
    )
    quantizer.quantize_model()
    made = quantizer.model.model
    assert made is not None
    if pixels is not None and pixels.normalized in overrides:
        read_pixels(made, pixels)
    if scheme.rounds_maps:
        _round_maps(
            made, overrides, [name for node in nodes for name in node.output if name in parts.maps]
        )
    ONNXModel(made).topological_sort()  # the quantizer appends what it adds
    return without_unused(made)


def with_bias_pairs(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """Return a copy with Q/DQ pairs about these layers' biases, by the scale ``quantized`` rounds them with."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node, bias in _biases(copy, [node for node in copy.graph.node if node.name in layers]):
        scale = np.array(power_of_two(bias), np.float32)
        source, node.input[2] = node.input[2], f"{node.name}_paired_bias"
        _add_pair(copy, source, node.input[2], scale=scale, zero_point=np.array(0, np.int8))
    ONNXModel(copy).topological_sort()
    return copy


def bias_corrected(
    model: onnx.ModelProto,
    ranges: TensorsData,
    parts: GraphParts,
    inputs_mean: dict[str, np.ndarray],
    scheme: Scheme = AFFINE,
) -> dict[str, np.ndarray]:
    """Return new biases by layer: without the mean error that rounding its weights puts on each output channel.

    A channel's mean output moves by the sum of its weights' rounding errors, each times the mean of
    the input channel it multiplies (padding is taken for such a mean too).

    Args:
        model: The float graph.
        ranges: Of its tensors; they decide nothing about weights.
        parts: Its layers.
        inputs_mean: Mean of each channel of each layer's input, by tensor; see ``channel_means``.
        scheme: How weights are rounded.

    Source:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
        2019, section 4.2.
    """
    rounded = _rounded_weights(quantize_graph(model, ranges, parts, parts.layers, scheme))
    weights = {entry.name: entry for entry in model.graph.initializer}
    biases: dict[str, np.ndarray] = {}
    for node in convolutions(model, parts.layers):
        if node.name not in rounded or len(node.input) < 3 or node.input[2] not in weights:
            continue
        error = rounded[node.name] - numpy_helper.to_array(weights[node.input[1]])
        groups = groups_of(node)
        by_channel = error.sum(axis=(2, 3)).reshape(groups, -1, error.shape[1])  # (group, out, in)
        mean = inputs_mean[node.input[0]].reshape(groups, -1)
        moved = np.einsum("goi,gi->go", by_channel, mean).ravel()
        biases[node.name] = (numpy_helper.to_array(weights[node.input[2]]) - moved).astype(
            np.float32
        )
    return biases


def with_biases(
    model: onnx.ModelProto, biases: dict[str, np.ndarray], layers: Collection[str]
) -> onnx.ModelProto:
    """Return a copy in which these layers have these biases."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.name in layers and node.name in biases:
            name = f"{node.name}_corrected_bias"
            copy.graph.initializer.append(numpy_helper.from_array(biases[node.name], name))
            node.input[2] = name
    return without_unused(copy)


def without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, in place without the constants that nothing reads."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [entry for entry in model.graph.initializer if entry.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def channel_means(
    network: onnx.ModelProto, layers: Collection[str], pictures: Crops, *, threads: int | None
) -> dict[str, np.ndarray]:
    """Return the mean of each channel of each convolution's input over pictures, by tensor."""
    names = list(dict.fromkeys(node.input[0] for node in convolutions(network, layers)))
    runner = Runner(with_outputs(network, names), threads=threads)
    total = [np.zeros(1)] * len(names)
    for row in range(len(pictures)):
        tensors = runner.outputs(pictures[row : row + 1])
        total = [
            before + tensor.mean(axis=(0, 2, 3))
            for before, tensor in zip(total, tensors, strict=True)
        ]
    return {name: values / len(pictures) for name, values in zip(names, total, strict=True)}


def _round_biases(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Give every bias the nearest of 256 multiples of a power of two, in place."""
    for node, bias in _biases(model, nodes):
        scale = power_of_two(bias)
        rounded = (to_levels(bias, scale) * scale).astype(np.float32)
        node.input[2] = f"{node.name}_rounded_bias"
        model.graph.initializer.append(numpy_helper.from_array(rounded, node.input[2]))


def _biases(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]
) -> list[tuple[onnx.NodeProto, np.ndarray]]:
    """Those of the nodes that have a constant bias, and it."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return [
        (node, constants[node.input[2]])
        for node in nodes
        if len(node.input) > 2 and node.input[2] in constants
    ]


def _round_maps(model: onnx.ModelProto, scales: Mapping[str, Any], maps: Sequence[str]) -> None:
    """Put a Q/DQ pair behind the maps, in place; they keep their names."""
    for name in maps:
        raw = f"{name}_raw"
        for node in model.graph.node:
            node.output[:] = [raw if output == name else output for output in node.output]
        _add_pair(
            model,
            raw,
            name,
            scale=scales[name][0]["scale"],
            zero_point=scales[name][0]["zero_point"],
        )


def _add_pair(
    model: onnx.ModelProto, source: str, output: str, *, scale: np.ndarray, zero_point: np.ndarray
) -> None:
    """Append a Q/DQ pair that rounds one tensor into another, in place."""
    levels, given = f"{output}_levels", (f"{output}_scale_given", f"{output}_zero_point_given")
    for name, value in zip(given, (scale, zero_point), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.node.append(
        onnx.helper.make_node("QuantizeLinear", [source, *given], [levels], f"{output}_q")
    )
    model.graph.node.append(
        onnx.helper.make_node("DequantizeLinear", [levels, *given], [output], f"{output}_dq")
    )


def convolutions(model: onnx.ModelProto, layers: Collection[str]) -> Sequence[onnx.NodeProto]:
    """Return the plain convolutions among these layers."""
    return [node for node in model.graph.node if node.op_type == "Conv" and node.name in layers]


def _rounded_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights that a Q/DQ graph's convolutions compute with, by node."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    maker = {node.output[0]: node for node in model.graph.node}
    weights: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        unpack = maker.get(node.input[1]) if node.op_type == "Conv" else None
        if unpack is None or unpack.op_type != "DequantizeLinear":
            continue
        pack = maker.get(unpack.input[0])  # a pair about float weights
        values = numpy_helper.to_array(constants[(pack or unpack).input[0]]).astype(np.float32)
        scales = numpy_helper.to_array(constants[unpack.input[1]]).reshape(-1, 1, 1, 1)
        levels = values if pack is None else to_levels(values, scales)
        weights[node.name] = (levels * scales).astype(np.float32)  # symmetric: the zero point is 0
    return weights
