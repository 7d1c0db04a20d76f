"""Quantization-aware fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
