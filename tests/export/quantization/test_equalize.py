"""Cross-layer equalization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from quantization_helpers import constants_of, maps_of, random_images, set_constant, small_network
from slimpose.export.quantization.equalize import channel_peaks, equalize


def equalized(network: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the constants after equalization, once its maps are the same as before."""
    images = random_images(2)
    result = equalize(network, channel_peaks(network, images, threads=1))
    before, after = maps_of(network, images), maps_of(result, images)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    return constants_of(result)


def test_equalized_channels_compute_the_same_and_have_similar_ranges(folder: Path) -> None:
    network, _ = small_network(folder)
    original = constants_of(network)
    for name, channel, factor in (
        ("c2.weight", (3,), 50.0),
        ("d1.weight", (slice(None), 3), 0.02),
    ):  # one output channel far from the others
        value = original[name].copy()
        value[channel] *= factor
        set_constant(network, name, value)
    value = equalized(network)
    written = np.abs(value["d1.weight"]).max(axis=(0, 2, 3))
    read = np.abs(value["maps.weight"]).max(axis=(0, 2, 3))
    assert read[0] == 0  # nothing to balance
    assert written[0] == 0  # nothing reads it
    np.testing.assert_allclose(written[1:], read[1:], rtol=1e-3)
    np.testing.assert_array_equal(value["c2.bias"], original["c2.bias"])  # two layers read it


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_a_dead_channel_does_not_determine_the_scale_of_a_tensor(
    folder: Path, activation: str
) -> None:
    network, _ = small_network(folder)
    weight, bias = (constants_of(network)[f"d1.{name}"].copy() for name in ("weight", "bias"))
    weight[:, 2], bias[2] = 1e3, -1e9  # always 0 after the activation, with huge weights
    set_constant(network, "d1.weight", weight)
    set_constant(network, "d1.bias", bias)
    if activation == "Clip":
        node = next(node for node in network.graph.node if node.input[0] == "d1_out")
        node.op_type = "Clip"
        for limit in (0, 6):
            entry = numpy_helper.from_array(np.array(limit, np.float32), f"limit_{limit}")
            network.graph.initializer.append(entry)
            node.input.append(entry.name)
    value = equalized(network)
    assert np.abs(value["d1.weight"]).max() < 10
    assert value["d1.bias"][2] == 0
