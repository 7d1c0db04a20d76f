"""What to choose by measurement: the rule for ranges, the layers that rounding hurts, how few of them go back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import TensorsData

from slimpose.arrays import Crops
from slimpose.export.quantization import calibration
from slimpose.export.quantization.graph import GraphParts, Runner, relative_error
from slimpose.export.quantization.int8 import (
    bias_corrected,
    channel_means,
    quantize_graph,
    with_biases,
)
from slimpose.export.quantization.schemes import AFFINE, Scheme

_COMPARED_SHARE = 5
"""One picture in so many calibrates nothing; the rules are compared on it."""
_MOST_COMPARED = 32
_SENSITIVITY_PICTURES = 8
_BIAS_PICTURES = 32

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounding:
    """How a network is rounded.

    Attributes:
        method: The rule for ranges: one of ``calibration.METHODS``.
        ranges: Each tensor's.
        biases: Corrected ones by layer; none where they did not help.
        error: Squared error of the maps with every layer rounded, as a share of their variance.
        scheme: What levels there are.
    """

    method: str
    ranges: TensorsData
    biases: dict[str, np.ndarray]
    error: float
    scheme: Scheme

    def applied(
        self, model: onnx.ModelProto, parts: GraphParts, layers: Sequence[str]
    ) -> onnx.ModelProto:
        """Return the graph with these layers in INT8."""
        return quantize_graph(
            with_biases(model, self.biases, layers), self.ranges, parts, layers, self.scheme
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizationEvaluation:
    """A network and the pictures that choices are measured on.

    Attributes:
        network: The float graph from pixels to maps.
        parts: Its layers.
        calibrating: Pictures that ranges are taken from.
        compared: Other pictures.
        truth: The float graph's maps of those.
        threads: CPU threads; None for the runtime's choice.
    """

    network: onnx.ModelProto
    parts: GraphParts
    calibrating: Crops
    compared: Crops
    truth: list[np.ndarray]
    threads: int | None

    def error(self, rounded: onnx.ModelProto, pictures: int = _MOST_COMPARED) -> float:
        """Return the relative squared error of its maps on the first few of the compared pictures."""
        maps = Runner(rounded, threads=self.threads).maps(self.compared[:pictures])
        return relative_error(maps, [truth[:pictures] for truth in self.truth])


def prepare_evaluation(
    network: onnx.ModelProto, parts: GraphParts, pictures: Crops, *, threads: int | None
) -> QuantizationEvaluation:
    """Return a bench: one picture in _COMPARED_SHARE compares, at most _MOST_COMPARED; a single one does both."""
    compared = pictures[::_COMPARED_SHARE][:_MOST_COMPARED]
    chosen = np.arange(len(compared)) * _COMPARED_SHARE
    calibrating = np.delete(pictures, chosen, axis=0) if len(pictures) > len(compared) else pictures
    truth = Runner(network, threads=threads).maps(compared)
    return QuantizationEvaluation(
        network=network,
        parts=parts,
        calibrating=calibrating,
        compared=compared,
        truth=truth,
        threads=threads,
    )


def choose_rounding(
    measured: QuantizationEvaluation, *, folder: Path, tell: Report, scheme: Scheme = AFFINE
) -> Rounding:
    """Return the rule for ranges, with corrected biases or without, that leaves the smallest error in the maps."""
    network, parts = measured.network, measured.parts
    best: Rounding | None = None
    for method in calibration.METHODS:
        ranges = calibration.ranges(network, measured.calibrating, method=method, folder=folder)
        error = measured.error(quantize_graph(network, ranges, parts, parts.layers, scheme))
        tell(f"  {method:<17} error of the maps {error:.3%}")
        if best is None or error < best.error:
            best = Rounding(method=method, ranges=ranges, biases={}, error=error, scheme=scheme)
    assert best is not None
    means = channel_means(
        network, parts.layers, measured.calibrating[:_BIAS_PICTURES], threads=measured.threads
    )
    biases = bias_corrected(network, best.ranges, parts, means, scheme)
    rounded = quantize_graph(
        with_biases(network, biases, parts.layers), best.ranges, parts, parts.layers, scheme
    )
    error = measured.error(rounded)
    tell(f"  {best.method}, biases corrected: {error:.3%}")
    if error < best.error:
        return dataclasses.replace(best, biases=biases, error=error)
    return best


def sensitivities(measured: QuantizationEvaluation, rounding: Rounding) -> list[tuple[str, float]]:
    """Return each layer and the error in the maps when it alone is rounded, the most sensitive first."""
    errors = [
        (
            layer,
            measured.error(
                rounding.applied(measured.network, measured.parts, [layer]), _SENSITIVITY_PICTURES
            ),
        )
        for layer in measured.parts.layers
    ]
    return sorted(errors, key=lambda entry: -entry[1])


def fewest_float_layers(
    loss_of: Callable[[int], float], *, most: int, max_loss: float
) -> tuple[int | None, dict[int, float]]:
    """Return the smallest count found whose loss is at most ``max_loss``, or None, and every loss measured.

    0, 1, 2, 4, ... up to ``most`` are tried until one fits; then the gap before it is halved. That
    finds the smallest where the loss falls with the count; where it does not quite, the one found
    still fits.

    Args:
        loss_of: Measures a count.
        most: The largest count.
        max_loss: The promise.
    """
    losses: dict[int, float] = {}
    tried = [0]
    while tried[-1] < most:
        tried.append(min(most, max(1, 2 * tried[-1])))
    low, fits = -1, None
    for count in tried:
        losses[count] = loss_of(count)
        if losses[count] <= max_loss:
            fits = count
            break
        low = count
    if fits is None:
        return None, losses
    while fits - low > 1:
        middle = (low + fits) // 2
        losses[middle] = loss_of(middle)
        if losses[middle] <= max_loss:
            fits = middle
        else:
            low = middle
    return fits, losses
