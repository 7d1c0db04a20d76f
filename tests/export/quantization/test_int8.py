"""Which layers are rounded, and how: graph parts, scales, biases, pixel input, schemes, FP16."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from quantization_helpers import (
    constants_of,
    maps_of,
    random_images,
    rounded_network,
    set_constant,
    small_network,
)
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import (
    Runner,
    network_of,
    read_float_model,
    relative_error,
    split_graph,
    with_outputs,
)
from slimpose.export.quantization.int8 import (
    bias_corrected,
    calibrate,
    channel_means,
    quantize_graph,
    with_bias_pairs,
)
from slimpose.export.quantization.pixel_input import pixel_input
from slimpose.export.quantization.rounding import prepare
from slimpose.export.quantization.schemes import SCHEMES, power_of_two
from slimpose.runtime.models import resolve
from small_nets import LAYERS, SIZE


def test_layers_are_between_pixels_and_maps_and_map_convolutions_stay_float(folder: Path) -> None:
    model, _ = read_float_model(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=False)
    assert parts.layers == LAYERS
    assert (parts.kept_float, parts.maps) == (("d1", "maps"), ("heatmaps",))
    # The decoding's sums are not layers.
    assert {"cast", "div", "argmax", "center"} <= set(parts.outside)
    assert split_graph(model, deconvolutions=True).layers == (*LAYERS, "d1")


@pytest.mark.parametrize(("node", "axis", "channels"), [("c1", 0, 8), ("c3", 0, 8), ("d1", 1, 6)])
def test_each_output_channel_has_its_own_scale(
    folder: Path, node: str, axis: int, channels: int
) -> None:
    model, _ = read_float_model(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=True)
    ranges = calibrate(network_of(model, parts), random_images(2), method="minmax", folder=folder)
    quantized = quantize_graph(model, ranges, parts, parts.layers)
    constants = constants_of(quantized)
    convolution = next(entry for entry in quantized.graph.node if entry.name == node)
    dequantize = next(
        entry for entry in quantized.graph.node if entry.output[0] == convolution.input[1]
    )
    assert {entry.name: entry.i for entry in dequantize.attribute}["axis"] == axis
    weight, scales = constants[dequantize.input[0]], constants[dequantize.input[1]]
    assert (weight.dtype, len(scales), weight.shape[axis]) == (np.int8, channels, channels)
    original = constants_of(model)[f"{node}.weight"]
    largest = np.abs(original).max(axis=tuple(set(range(4)) - {axis}))
    np.testing.assert_allclose(scales, largest / 127, rtol=0.01)


def test_only_requested_layers_are_rounded(folder: Path) -> None:
    network, parts = small_network(folder)
    evaluation = prepare(network, parts, random_images(10), threads=1)
    ranges = calibrate(network, evaluation.calibration, method="minmax", folder=folder)
    errors = [
        evaluation.error(quantize_graph(network, ranges, parts, layers))
        for layers in ([], parts.layers)
    ]
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert 1e-6 < errors[1] < 0.05


@pytest.mark.parametrize("layer", ["c1", "c3"])
def test_corrected_biases_cancel_the_mean_error_of_each_channel(folder: Path, layer: str) -> None:
    network, parts = small_network(folder)
    images = random_images(10)
    ranges = calibrate(network, images, method="minmax", folder=folder)
    means = channel_means(network, parts.layers, images, threads=1)
    constants = constants_of(network)
    weight, bias = constants[f"{layer}.weight"], constants[f"{layer}.bias"]
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    added = np.round(weight / scale) * scale - weight
    mean = means["normal" if layer == "c1" else "c2_out_relu"]
    by_input = added.sum(axis=(2, 3))  # depthwise: its one input channel is the output's
    expected = bias - (by_input[:, 0] * mean if layer == "c3" else by_input @ mean)
    np.testing.assert_allclose(
        bias_corrected(network, ranges, parts, means)[layer], expected, atol=2e-4
    )


def test_an_int8_network_reads_uint8_pixels_without_losing_a_bit(folder: Path) -> None:
    """(u - 127.5) / 127.5 rounded to 8 bits would lose a bit; the bias has the half level."""
    network, parts = small_network(folder)
    found = pixel_input(network, parts)
    assert found is not None
    assert (found.stem, found.pixels, found.zero_point) == ("c1", "chw", 128)
    np.testing.assert_allclose(found.offsets, 0.5 / 127.5)
    ranges = calibrate(network, random_images(10), method="minmax", folder=folder)
    rounded = quantize_graph(network, ranges, parts, ["c1"])
    assert not {"Cast", "Sub", "Div"} & {node.op_type for node in rounded.graph.node}
    weights = next(entry for entry in rounded.graph.node if entry.name == "c1").input[1]
    assert weights.startswith("c1.weight")
    maps = [maps_of(rounded, np.full((1, *SIZE, 3), level, np.uint8)) for level in range(200, 204)]
    assert all(np.abs(after - before).max() > 0 for before, after in pairwise(maps))


def test_the_shipped_network_can_read_uint8_pixels(tmp_path: Path) -> None:
    """The exporter may cast the pixels before it moves the channels, or after."""
    model, info = read_float_model(resolve("mnv2"))
    parts = split_graph(model, deconvolutions=False)
    network = network_of(model, parts)
    found = pixel_input(network, parts)
    assert found is not None
    assert (found.image, found.zero_point) == ("crops", 128)
    crops = np.random.default_rng(0).integers(0, 256, (2, *info.size, 3)).astype(np.uint8)
    ranges = calibrate(network, crops, method="minmax", folder=tmp_path)
    rounded = quantize_graph(network, ranges, parts, [found.stem])
    assert not {"Cast", "Sub", "Div"} & {node.op_type for node in rounded.graph.node}
    before, after = maps_of(network, crops), maps_of(rounded, crops)
    assert float(((before - after) ** 2).mean()) < 0.01 * float((before**2).mean())


@pytest.mark.parametrize(("mean", "is_read"), [(127.5, True), (127.2, True), (110.0, False)])
def test_pixels_stay_normalized_if_no_integer_level_is_near_all_means(
    folder: Path, mean: float, is_read: bool
) -> None:
    network, parts = small_network(folder)
    means = np.array([127.5, 127.5, mean], np.float32).reshape(3, 1, 1)
    network.graph.initializer.append(numpy_helper.from_array(means, "means"))
    next(node for node in network.graph.node if node.name == "sub").input[1] = "means"
    assert (pixel_input(network, parts) is not None) == is_read


def test_decoding_of_an_fp16_file_is_single_precision(folder: Path) -> None:
    """Points of its own maps, exactly: FP16 would move a point at 200 px by up to 1/16."""
    model, _ = read_float_model(folder / "small.onnx")
    half = to_fp16(model, split_graph(model, deconvolutions=True))
    runner = Runner(with_outputs(half, ["heatmaps", "points", "scores"]), threads=1)
    maps, points, scores = runner.outputs(random_images(1, seed=3))
    flat = maps.reshape(17, -1)
    rows, columns = np.divmod(flat.argmax(axis=1), maps.shape[3])
    np.testing.assert_array_equal(points[0], np.stack([columns, rows], axis=1) * 4 + 1.5)
    np.testing.assert_allclose(scores[0], 1 / (1 + np.exp(-flat.max(axis=1))), rtol=1e-6)


def test_power_of_two_scales_apply_to_all_tensors_and_the_maps_are_levels(folder: Path) -> None:
    network, rounded, images = rounded_network(folder, SCHEMES["power-of-two"])
    constants = constants_of(rounded)
    pairs = [
        node
        for node in rounded.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    scales = np.concatenate([constants[node.input[1]].ravel() for node in pairs])
    np.testing.assert_array_equal(np.frexp(scales)[0], 0.5)
    assert all(constants[node.input[1]].size == 1 for node in pairs)
    assert all(not constants[node.input[2]].any() for node in pairs if len(node.input) > 2)
    last = next(node for node in rounded.graph.node if node.output[0] == "heatmaps")
    maps = maps_of(rounded, images)
    levels = maps / constants[last.input[1]]
    np.testing.assert_array_equal(levels, np.round(levels))
    assert np.abs(levels).max() <= 128
    assert relative_error([maps], [maps_of(network, images)]) < 0.05


def test_a_power_of_two_graph_computes_integer_arithmetic(folder: Path) -> None:
    """Convolutions of levels and shifts, in exact integers, are equal to ONNX Runtime's maps."""
    _, rounded, images = rounded_network(folder, SCHEMES["power-of-two"])
    newer = onnx.ModelProto()  # the same operators; the evaluator supports Q/DQ from opset 19 on
    newer.CopyFrom(rounded)
    newer.opset_import[0].version = 21
    exact = np.asarray(next(iter(ReferenceEvaluator(newer).run(None, {"crops": images[:1]}))))
    np.testing.assert_array_equal(maps_of(rounded, images[:1]), exact)


@pytest.mark.parametrize("values", [[0.0], [0.5, -1.0], [3.0, 100.0], [1e-6, -2e-6]])
def test_the_power_of_two_with_the_least_error_is_chosen(values: list[float]) -> None:
    array = np.array(values)

    def error(scale: float) -> float:
        return float(((np.clip(np.round(array / scale), -128, 127) * scale - array) ** 2).sum())

    scale = power_of_two(array)
    assert np.frexp(scale)[0] == 0.5
    assert error(scale) <= min(error(2.0**exponent) for exponent in range(-40, 10)) + 1e-12


def test_pairs_around_biases_round_them_as_the_scheme_does(folder: Path) -> None:
    network, parts = small_network(folder, deconvolutions=True, include_maps=True)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(network)
    for name, bias in constants_of(network).items():
        if name.endswith(".bias"):
            scale = power_of_two(bias)
            set_constant(rounded, name, np.clip(np.round(bias / scale), -128, 127) * scale)
    images = random_images(2)
    expected = maps_of(rounded, images)
    in_pairs = with_bias_pairs(network, parts.layers)
    np.testing.assert_allclose(maps_of(in_pairs, images), expected, atol=1e-5)
    assert not np.array_equal(expected, maps_of(network, images))
