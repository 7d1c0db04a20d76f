"""How values become 8 bits: what each kind of chip computes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorsData

_LEVELS = 128
"""int8 reaches from minus so many levels to one less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way to round.

    Attributes:
        name: Its word in the command and in a file's card.
        symmetric: int8 activations with zero point 0; else uint8 with a zero point.
        reads_pixels: The first convolution reads the pixels as they are; see ``pixels``.
        power_of_two: Every scale is a power of two, and a tensor has one; else weights have a scale
            a channel.
        rounds_biases: Biases are integers too.
        own_pairs: Every layer has Q/DQ pairs of its own, float weights too; else they are shared,
            and weights int8.
        deconvolution_axis: Which axis of (C_in, C_out / groups, kh, kw) has a scale each.
        rounds_maps: The convolutions that give the maps, and the maps, are rounded too.
    """

    name: str
    symmetric: bool = False
    reads_pixels: bool = False
    power_of_two: bool = False
    rounds_biases: bool = True
    own_pairs: bool = False
    deconvolution_axis: int = 1
    rounds_maps: bool = False

    def options(
        self, model: onnx.ModelProto, ranges: TensorsData, layers: Iterable[onnx.NodeProto]
    ) -> dict[str, Any]:
        """Return ONNX Runtime's quantizer's words for it.

        Args:
            model: The float graph.
            ranges: Of its tensors.
            layers: What is rounded.
        """
        options: dict[str, Any] = {
            "per_channel": not self.power_of_two,
            "activation_qType": QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
        }
        extra: dict[str, Any] = {
            "QuantizeBias": self.rounds_biases,
            "AddQDQPairToWeight": self.own_pairs,
            "DedicatedQDQPair": self.own_pairs,
            "TensorQuantOverrides": _powers_of_two(model, ranges, layers)
            if self.power_of_two
            else {
                node.input[1]: [
                    {
                        "quant_type": QuantType.QInt8,
                        "axis": self.deconvolution_axis,
                        "symmetric": True,
                    }
                ]
                for node in layers
                if node.op_type == "ConvTranspose"
            },
        }
        if (
            self.symmetric
        ):  # an activation is computed with the layer in front of it: no rounding between them
            extra |= {"ActivationSymmetric": True, "WeightSymmetric": True}
            extra["QDQDisableWeightAdjustForInt32Bias"] = True  # scales stay as they are chosen
            extra["OpTypesToExcludeOutputQuantization"] = ["Conv", "ConvTranspose", "Add"]
        return {**options, "extra_options": extra}


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="affine", reads_pixels=True),
        # TensorRT's parser wants zero points of 0, float biases and pairs about float weights, and
        # its kernels a scale for each input channel of a deconvolution:
        # https://github.com/NVIDIA/TensorRT/issues/2380
        Scheme(
            name="symmetric",
            symmetric=True,
            rounds_biases=False,
            own_pairs=True,
            deconvolution_axis=0,
        ),
        # What the DPU computes, as UG1414 (Vitis AI) describes it.
        Scheme(name="power-of-two", symmetric=True, power_of_two=True, rounds_maps=True),
    )
}
AFFINE = SCHEMES["affine"]


def power_of_two(values: np.ndarray) -> float:
    """Return the scale, a power of two, that leaves the least squared error when values become int8.

    The scale that holds the largest is compared with the next ones below it, which cut some off.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return 1.0
    holds = int(np.ceil(np.log2(largest / (_LEVELS - 1))))
    scales = [2.0 ** (holds - less) for less in range(3)]
    return min(
        scales, key=lambda scale: float(((to_levels(values, scale) * scale - values) ** 2).sum())
    )


def to_levels(values: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Return int8 levels, as float64, half to even."""
    return np.clip(np.round(values / scale), -_LEVELS, _LEVELS - 1)


def _powers_of_two(
    model: onnx.ModelProto, ranges: TensorsData, layers: Iterable[onnx.NodeProto]
) -> dict[str, list[dict[str, Any]]]:
    """A scale for each tensor: weights by their own error, the others the power nearest to what their range wants."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    scales = {}
    for name in ranges:
        low, high = (float(np.max(np.abs(value))) for value in ranges[name].range_value)
        scales[name] = 2.0 ** float(np.round(np.log2(max(low, high, 1e-9) / (_LEVELS - 1))))
    for node in layers:
        if len(node.input) > 1 and node.input[1] in constants:
            scales[node.input[1]] = power_of_two(numpy_helper.to_array(constants[node.input[1]]))
    return {
        name: [
            {
                "quant_type": QuantType.QInt8,
                "scale": np.array(scale, np.float32),
                "zero_point": np.array(0, np.int8),
            }
        ]
        for name, scale in scales.items()
    }
