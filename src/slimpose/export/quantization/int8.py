"""Calibration, Q/DQ pairs around chosen layers by ONNX Runtime's quantizer, and bias correction."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    create_calibrator,
)
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import (
    PASSTHROUGH_OPS,
    GraphParts,
    groups_of,
    tensors_by_image,
)
from slimpose.export.quantization.pixel_input import pixel_input, read_pixels, shift_into_bias
from slimpose.export.quantization.schemes import AFFINE, Scheme, power_of_two, to_levels

_OP_TYPES = ("Conv", "ConvTranspose", "Add", *PASSTHROUGH_OPS)
_HISTOGRAM_IMAGES = 48
_CHUNK = 4
"""Images whose tensors are in memory at once: about 50 MB each."""

_METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile-99.99": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 256, "num_quantized_bins": 128}),
}
CALIBRATION_METHODS = tuple(_METHODS)


class _ImageReader(CalibrationDataReader):
    def __init__(self, name: str, images: Crops) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = (
            {name: images[row : row + 1]} for row in range(len(images))
        )

    def get_next(self) -> dict[str, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride] - its stub has no types
        return next(self._batches, {})


def calibrate(network: onnx.ModelProto, images: Crops, *, method: str, folder: Path) -> TensorsData:
    """Return the value range of every tensor over the images.

    The network is the float graph from pixels to maps, the images are uint8 (n, H, W, 3), and the
    method is one of CALIBRATION_METHODS. ``minmax`` reads all images; the rules that need
    histograms read the first _HISTOGRAM_IMAGES, because a tensor's histogram takes longer than
    computing the tensor. The folder is for temporary files.
    """
    kind, options = _METHODS[method]
    source = folder / "network.onnx"
    source.write_bytes(network.SerializeToString())
    calibrator = create_calibrator(
        source,
        list(_OP_TYPES),
        augmented_model_path=str(folder / f"{method}.onnx"),
        calibrate_method=kind,
        extra_options=options,
    )
    if kind != CalibrationMethod.MinMax:
        images = images[:_HISTOGRAM_IMAGES]
    name = network.graph.input[0].name
    with contextlib.redirect_stdout(io.StringIO()):  # the histogram rules print their progress
        for start in range(0, len(images), _CHUNK):
            calibrator.collect_data(_ImageReader(name, images[start : start + _CHUNK]))
        return calibrator.compute_data()


def quantize_graph(
    model: onnx.ModelProto,
    ranges: TensorsData,
    parts: GraphParts,
    layers: Collection[str],
    scheme: Scheme = AFFINE,
) -> onnx.ModelProto:
    """Return a copy whose ``layers`` compute in INT8 by the scheme; everything else stays float."""
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
        scale = np.array(pixels.scale, np.float32)
        zero_point = np.array(pixels.zero_point, np.uint8)
        overrides[pixels.normalized] = [{"scale": scale, "zero_point": zero_point}]
    quantizer = QDQQuantizer(
        copy,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[*layers, *parts.passthrough],
        nodes_to_exclude=[],
        op_types_to_quantize=list(_OP_TYPES),
        **options,
    )
    quantizer.quantize_model()
    quantized = quantizer.model.model
    assert quantized is not None
    if pixels is not None and pixels.normalized in overrides:
        read_pixels(quantized, pixels)
    if scheme.rounds_maps:
        maps = [name for node in nodes for name in node.output if name in parts.maps]
        _round_maps(quantized, overrides, maps)
    ONNXModel(quantized).topological_sort()  # the quantizer appends new nodes at the end
    return without_unused(quantized)


def with_bias_pairs(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """Return a copy with Q/DQ pairs around these layers' biases.

    Their scales are those that ``quantize_graph`` rounds biases with.
    """
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
    """Return new biases by layer, which cancel the mean error of each channel from rounded weights.

    A channel's mean output shifts by the sum of its weights' rounding errors, each times the mean
    of the input channel it multiplies (padding is treated as if it had that mean too): see
    ``channel_means``. Rounded weights do not depend on the ranges.

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
        shift = np.einsum("goi,gi->go", by_channel, mean).ravel()
        bias = numpy_helper.to_array(weights[node.input[2]])
        biases[node.name] = (bias - shift).astype(np.float32)
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
    """Remove constants that no node reads, in place, and return the model."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [entry for entry in model.graph.initializer if entry.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def channel_means(
    network: onnx.ModelProto, layers: Collection[str], images: Crops, *, threads: int | None
) -> dict[str, np.ndarray]:
    """Return the mean of each channel of each convolution's input over the images, by tensor."""
    names = list(dict.fromkeys(node.input[0] for node in convolutions(network, layers)))
    total = dict.fromkeys(names, np.zeros(1))
    for tensors in tensors_by_image(network, names, images, threads=threads):
        for name, tensor in tensors.items():
            total[name] = total[name] + tensor.mean(axis=(0, 2, 3))
    return {name: values / len(images) for name, values in total.items()}


def _round_biases(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Round every bias to the nearest of 256 multiples of a power of two, in place."""
    for node, bias in _biases(model, nodes):
        scale = power_of_two(bias)
        rounded = (to_levels(bias, scale) * scale).astype(np.float32)
        node.input[2] = f"{node.name}_rounded_bias"
        model.graph.initializer.append(numpy_helper.from_array(rounded, node.input[2]))


def _biases(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]
) -> list[tuple[onnx.NodeProto, np.ndarray]]:
    """Return the nodes that have a constant bias, each with its bias."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return [
        (node, constants[node.input[2]])
        for node in nodes
        if len(node.input) > 2 and node.input[2] in constants
    ]


def _round_maps(model: onnx.ModelProto, scales: Mapping[str, Any], maps: Sequence[str]) -> None:
    """Insert a Q/DQ pair after each map, in place; the maps keep their names."""
    for name in maps:
        raw = f"{name}_raw"
        for node in model.graph.node:
            node.output[:] = [raw if output == name else output for output in node.output]
        (pair,) = scales[name]
        _add_pair(model, raw, name, scale=pair["scale"], zero_point=pair["zero_point"])


def _add_pair(
    model: onnx.ModelProto, source: str, output: str, *, scale: np.ndarray, zero_point: np.ndarray
) -> None:
    """Append a Q/DQ pair from one tensor to another, in place."""
    levels, parameters = f"{output}_levels", (f"{output}_scale_given", f"{output}_zero_point_given")
    for name, value in zip(parameters, (scale, zero_point), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.node.append(
        onnx.helper.make_node("QuantizeLinear", [source, *parameters], [levels], f"{output}_q")
    )
    model.graph.node.append(
        onnx.helper.make_node("DequantizeLinear", [levels, *parameters], [output], f"{output}_dq")
    )


def convolutions(model: onnx.ModelProto, layers: Collection[str]) -> Sequence[onnx.NodeProto]:
    """Return the plain convolutions among these layers."""
    return [node for node in model.graph.node if node.op_type == "Conv" and node.name in layers]


def _rounded_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the rounded weights of a Q/DQ graph's convolutions, by node."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    producer = {node.output[0]: node for node in model.graph.node}
    weights: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        dequantize = producer.get(node.input[1]) if node.op_type == "Conv" else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        quantize = producer.get(dequantize.input[0])  # of a pair around float weights
        values = numpy_helper.to_array(constants[(quantize or dequantize).input[0]]).astype(
            np.float32
        )
        scales = numpy_helper.to_array(constants[dequantize.input[1]]).reshape(-1, 1, 1, 1)
        levels = values if quantize is None else to_levels(values, scales)
        weights[node.name] = (levels * scales).astype(np.float32)  # symmetric: the zero point is 0
    return weights
