"""How values become 8 bits, for each kind of hardware."""

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
"""int8 ranges from -128 to 127."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way to round values to 8 bits.

    Attributes:
        name: Value of ``--scheme``; stored in the card of the file.
        symmetric: int8 activations with zero point 0; otherwise uint8 with a zero point.
        reads_pixels: The first convolution reads the uint8 pixels; see ``pixel_input``.
        power_of_two: One scale per tensor, a power of two; otherwise one weight scale per channel.
        rounds_biases: Biases are integers too.
        own_pairs: Every layer has its own Q/DQ pairs, around float weights too; otherwise pairs are
            shared, and weights are stored as int8.
        deconvolution_axis: The axis of transposed convolutions' weights (C_in, C_out / groups, kh,
            kw) along which scales differ.
        rounds_maps: The convolutions that produce the maps, and the maps, are rounded too.
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
        """Return the options of ONNX Runtime's quantizer for these layers of a float graph."""
        kind, axis = QuantType.QInt8, self.deconvolution_axis
        extra: dict[str, Any] = {
            "QuantizeBias": self.rounds_biases,
            "AddQDQPairToWeight": self.own_pairs,
            "DedicatedQDQPair": self.own_pairs,
            "TensorQuantOverrides": _powers_of_two(model, ranges, layers)
            if self.power_of_two
            else {
                node.input[1]: [{"quant_type": kind, "axis": axis, "symmetric": True}]
                for node in layers
                if node.op_type == "ConvTranspose"
            },
        }
        if self.symmetric:
            # An activation is computed with the layer before it: no rounding between them.
            extra |= {"ActivationSymmetric": True, "WeightSymmetric": True}
            extra["QDQDisableWeightAdjustForInt32Bias"] = True  # keep the scales chosen here
            extra["OpTypesToExcludeOutputQuantization"] = ["Conv", "ConvTranspose", "Add"]
        return {
            "per_channel": not self.power_of_two,
            "activation_qType": QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
            "extra_options": extra,
        }


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="affine", reads_pixels=True),
        # TensorRT's parser requires zero points of 0, float biases and pairs around float weights,
        # and its kernels one scale per input channel of a transposed convolution:
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
    """Return the power of two that, as the scale of int8 levels, has the least squared error.

    The smallest scale that covers all values is compared with the next two below it, which clip.

    >>> power_of_two(np.array([3.0, 100.0]))
    1.0
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return 1.0
    exponent = int(np.ceil(np.log2(largest / (_LEVELS - 1))))
    scales = [2.0 ** (exponent - step) for step in range(3)]
    return min(
        scales, key=lambda scale: float(((to_levels(values, scale) * scale - values) ** 2).sum())
    )


def to_levels(values: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Return int8 levels, as float64, half to even."""
    return np.clip(np.round(values / scale), -_LEVELS, _LEVELS - 1)


def _powers_of_two(
    model: onnx.ModelProto, ranges: TensorsData, layers: Iterable[onnx.NodeProto]
) -> dict[str, list[dict[str, Any]]]:
    """Return one scale per tensor: of least error for weights, nearest to the range for others."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    scales = {}
    for name in ranges:
        low, high = (float(np.max(np.abs(value))) for value in ranges[name].range_value)
        scales[name] = 2.0 ** float(np.round(np.log2(max(low, high, 1e-9) / (_LEVELS - 1))))
    for node in layers:
        if len(node.input) > 1 and node.input[1] in constants:
            scales[node.input[1]] = power_of_two(numpy_helper.to_array(constants[node.input[1]]))
    common = {"quant_type": QuantType.QInt8, "zero_point": np.array(0, np.int8)}
    return {
        name: [{**common, "scale": np.array(scale, np.float32)}] for name, scale in scales.items()
    }
