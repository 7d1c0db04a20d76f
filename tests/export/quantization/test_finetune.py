"""Quantization-aware fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from quantization_helpers import maps_of, set_constant, small_network
from slimpose.export.quantization import samples
from slimpose.export.quantization.finetune import QdqNet, fine_tune
from slimpose.export.quantization.graph import relative_error
from slimpose.export.quantization.int8 import calibrate, quantize_graph
from slimpose.export.quantization.schemes import SCHEMES
from slimpose.formats import coco
from slimpose.runtime.session import Session


@pytest.mark.parametrize("scheme", ["affine", "power-of-two"])
def test_fine_tuning_reduces_the_error_of_the_maps(folder: Path, scheme: str) -> None:
    chosen = SCHEMES[scheme]
    network, parts = small_network(folder, deconvolutions=True, include_maps=chosen.rounds_maps)
    people = coco.read(folder / "images" / "people.json", keypoints=True)
    info = Session(folder / "small.onnx").info
    images = samples.model_inputs(people, folder / "images", info)
    ranges = calibrate(network, images, method="minmax", folder=folder)
    before = quantize_graph(network, ranges, parts, parts.layers, chosen)
    expected = maps_of(network, images)
    maps = QdqNet(network)(torch.from_numpy(images))[0].detach()
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    values = fine_tune(network, ranges, parts, chosen, images, teacher=network, steps=60, threads=1)
    # Biases too: all of them are constants of the network.
    assert values.keys() <= {entry.name for entry in network.graph.initializer}
    for name, value in values.items():
        set_constant(network, name, value)
    after = quantize_graph(network, ranges, parts, parts.layers, chosen)
    errors = [relative_error([maps_of(made, images)], [expected]) for made in (before, after)]
    assert errors[1] < 0.9 * errors[0]


def enlarged(mode: str, coordinates: str) -> onnx.ModelProto:
    """Return a network of a convolution, its map enlarged to twice the size, and their sum."""
    return onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        graph (uint8[n, 4, 6, 3] pixels) => (float[n, 2, 8, 12] maps)
        <float[2, 3, 1, 1] weight = {{0.5, -1.0, 0.25, 0.125, 1.0, -0.5}},
         float[4] scales = {{1.0, 1.0, 2.0, 2.0}}>
        {{
            floats = Cast <to = 1> (pixels)
            channels = Transpose <perm = [0, 3, 1, 2]> (floats)
            small = Conv (channels, weight)
            large = Resize <mode = "{mode}", coordinate_transformation_mode = "{coordinates}",
                            nearest_mode = "floor"> (small, , scales)
            maps = Add (large, large)
        }}
    """)


@pytest.mark.parametrize(
    ("mode", "coordinates"),
    [("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")],
)
def test_enlarged_maps_can_be_trained(mode: str, coordinates: str) -> None:
    network = enlarged(mode, coordinates)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
    maps = QdqNet(network)(torch.from_numpy(images))[0]
    np.testing.assert_allclose(maps.detach(), maps_of(network, images), atol=1e-3)


def test_another_interpolation_is_refused() -> None:
    with pytest.raises(ValueError, match="cubic and half_pixel coordinates cannot be trained"):
        QdqNet(enlarged("cubic", "half_pixel"))(torch.zeros((1, 4, 6, 3), dtype=torch.uint8))
