"""The choice of a calibration rule: the one whose INT8 network has the smallest map error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import TensorsData

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import GraphParts, Runner, relative_error
from slimpose.export.quantization.int8 import (
    CALIBRATION_METHODS,
    bias_corrected,
    calibrate,
    channel_means,
    quantize_graph,
    with_biases,
)
from slimpose.export.quantization.schemes import AFFINE, Scheme

_HOLD_OUT_STEP = 5
"""Every 5th image is held out of the calibration; the rules are compared on these."""
_MAX_HELD_OUT = 32
_BIAS_IMAGES = 32

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounding:
    """How a network is rounded.

    Attributes:
        method: The rule for ranges: one of ``int8.CALIBRATION_METHODS``.
        ranges: Range of each tensor.
        biases: Corrected biases by layer; empty where they did not help.
        error: Squared error of the maps with every layer rounded, as a share of their variance.
        scheme: How values become 8 bits.
    """

    method: str
    ranges: TensorsData
    biases: dict[str, np.ndarray]
    error: float
    scheme: Scheme

    def apply(
        self, model: onnx.ModelProto, parts: GraphParts, layers: Sequence[str]
    ) -> onnx.ModelProto:
        """Return the graph with these layers in INT8."""
        model = with_biases(model, self.biases, layers)
        return quantize_graph(model, self.ranges, parts, layers, self.scheme)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """A network and the images that its rounded versions are compared on.

    Attributes:
        network: The float graph from pixels to maps.
        parts: Its layers.
        calibration: Images that ranges are calibrated on, uint8 (n, H, W, 3).
        held_out: Other images, to compare the maps on.
        float_maps: The float graph's maps of those.
        threads: CPU threads; the runtime's choice by default.
    """

    network: onnx.ModelProto
    parts: GraphParts
    calibration: Crops
    held_out: Crops
    float_maps: list[np.ndarray]
    threads: int | None

    def error(self, rounded: onnx.ModelProto, images: int = _MAX_HELD_OUT) -> float:
        """Return the relative squared error of the maps on the first few held-out images."""
        maps = Runner(rounded, threads=self.threads).maps(self.held_out[:images])
        return relative_error(maps, [expected[:images] for expected in self.float_maps])


def prepare(
    network: onnx.ModelProto, parts: GraphParts, images: Crops, *, threads: int | None
) -> Evaluation:
    """Split the images: every _HOLD_OUT_STEP-th is held out, at most _MAX_HELD_OUT.

    A single image is used for both.
    """
    held_out = images[::_HOLD_OUT_STEP][:_MAX_HELD_OUT]
    rows = np.arange(len(held_out)) * _HOLD_OUT_STEP
    return Evaluation(
        network=network,
        parts=parts,
        calibration=np.delete(images, rows, axis=0) if len(images) > len(held_out) else images,
        held_out=held_out,
        float_maps=Runner(network, threads=threads).maps(held_out),
        threads=threads,
    )


def choose(evaluation: Evaluation, *, folder: Path, log: Log, scheme: Scheme = AFFINE) -> Rounding:
    """Return the rule for ranges, with or without corrected biases, of the smallest error.

    The folder is for temporary files; ``log`` gets the error of each rule.
    """
    network, parts = evaluation.network, evaluation.parts
    tried: list[Rounding] = []
    for method in CALIBRATION_METHODS:
        ranges = calibrate(network, evaluation.calibration, method=method, folder=folder)
        error = evaluation.error(quantize_graph(network, ranges, parts, parts.layers, scheme))
        log(f"  {method:<17} error of the maps {error:.3%}")
        tried.append(Rounding(method=method, ranges=ranges, biases={}, error=error, scheme=scheme))
    best = min(tried, key=lambda rounding: rounding.error)
    means = channel_means(
        network, parts.layers, evaluation.calibration[:_BIAS_IMAGES], threads=evaluation.threads
    )
    biases = bias_corrected(network, best.ranges, parts, means, scheme)
    corrected = dataclasses.replace(best, biases=biases)
    error = evaluation.error(corrected.apply(network, parts, parts.layers))
    log(f"  {best.method}, biases corrected: {error:.3%}")
    return dataclasses.replace(corrected, error=error) if error < best.error else best
