"""The network of ``small_nets`` as the tests of quantization need it: parts, images, ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import (
    GraphParts,
    Runner,
    network_of,
    read_float_model,
    split_graph,
)
from slimpose.export.quantization.int8 import calibrate, quantize_graph
from slimpose.export.quantization.schemes import Scheme
from small_nets import SIZE


def random_images(count: int, *, seed: int = 0) -> Crops:
    """Return uint8 images (count, height, width, 3) of the network's size."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)


def small_network(
    folder: Path, *, deconvolutions: bool = False, include_maps: bool = False
) -> tuple[onnx.ModelProto, GraphParts]:
    """Return the float network from pixels to maps, and its parts."""
    model, _ = read_float_model(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=deconvolutions, include_maps=include_maps)
    return network_of(model, parts), parts


def rounded_network(folder: Path, scheme: Scheme) -> tuple[onnx.ModelProto, onnx.ModelProto, Crops]:
    """Return the network, the same with every layer rounded, and the calibration images."""
    network, parts = small_network(folder, deconvolutions=True, include_maps=scheme.rounds_maps)
    images = random_images(4)
    ranges = calibrate(network, images, method="minmax", folder=folder)
    return network, quantize_graph(network, ranges, parts, parts.layers, scheme), images


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the initializers by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def set_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    """Replace an initializer, in place."""
    entry = next(entry for entry in model.graph.initializer if entry.name == name)
    entry.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def maps_of(model: onnx.ModelProto, images: Crops) -> np.ndarray:
    """Return the first output for the images."""
    return Runner(model, threads=1).maps(images)[0]
