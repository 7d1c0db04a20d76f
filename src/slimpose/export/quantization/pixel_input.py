"""Uint8 pixels as the input of an INT8 network's first convolution, without normalization.

If pixels u are normalized in float and rounded again, (u - 127.5) / 127.5 falls halfway between two
levels and loses the last bit; and ONNX Runtime, which computes 8-bit convolutions with channels
last, takes 4 of 11 ms to subtract three numbers from an image in that layout. Instead the first
convolution reads u itself; mean and deviation move into its bias and its DequantizeLinear. In the
padded border the level differs from 0 by the distance of the mean from an integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.export.quantization.graph import GraphParts

_MAX_MEAN_OFFSET = 1.0
"""Largest distance between a channel's mean and the common zero point, in gray levels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelInput:
    """A first convolution that reads normalized pixels.

    Attributes:
        stem: The convolution's name.
        normalized: The tensor it reads.
        pixels: The same before normalization: uint8 once the cast is removed.
        image: The uint8 tensor that the cast reads.
        transpose: Name of the node that moves the channels, if it lies behind the cast.
        scale: Width of one level in the normalized tensor.
        zero_point: The level nearest to a normalized 0.
        offsets: (channels,) the normalized tensor minus ``scale * (u - zero_point)``.
        between: Names of the nodes from ``pixels`` to ``normalized``.
    """

    stem: str
    normalized: str
    pixels: str
    image: str
    transpose: str | None
    scale: float
    zero_point: int
    offsets: np.ndarray
    between: tuple[str, ...]


def pixel_input(model: onnx.ModelProto, parts: GraphParts) -> PixelInput | None:
    """Return the first convolution that reads ``(cast(pixels) - mean) / deviation``, or None.

    Also None if the channels' deviations differ, or their means by more than a level or two: no
    common scale and zero point is close enough then.
    """
    constants = {entry.name: entry for entry in model.graph.initializer}
    stem = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    chain = None if stem is None else _normalization(model, parts, constants, stem.input[0])
    if stem is None or chain is None:
        return None
    weight = constants.get(stem.input[1])
    if (
        len(stem.input) < 3
        or stem.input[2] not in constants
        or weight is None
        or weight.dims[1] != 3
    ):
        return None
    deviation, mean = (
        numpy_helper.to_array(constants[node.input[1]]).astype(np.float64) for node in chain[:2]
    )
    if any(value.size not in (1, 3) for value in (deviation, mean)):
        return None
    mean, deviation = np.broadcast_to(mean.ravel(), 3), np.broadcast_to(deviation.ravel(), 3)
    zero_point = int(np.ceil(mean.mean()))
    if (
        np.ptp(deviation) > 1e-6
        or np.abs(mean - zero_point).max() > _MAX_MEAN_OFFSET
        or not 0 <= zero_point <= 255
    ):
        return None
    transpose, cast = (chain[2], chain[3]) if len(chain) == 4 else (None, chain[2])
    return PixelInput(
        stem=stem.name,
        normalized=stem.input[0],
        pixels=cast.input[0] if transpose is None else transpose.output[0],
        image=cast.input[0],
        transpose=None if transpose is None else transpose.name,
        scale=float(1 / deviation[0]),
        zero_point=zero_point,
        offsets=(zero_point - mean) / deviation[0],
        between=tuple(node.name for node in chain if node.op_type != "Transpose"),
    )


def _normalization(
    model: onnx.ModelProto,
    parts: GraphParts,
    constants: Mapping[str, onnx.TensorProto],
    name: str,
) -> list[onnx.NodeProto] | None:
    """Return the nodes that compute a tensor nothing else reads, or None.

    They are Div, Sub, Transpose if it lies behind the cast, and Cast.
    """
    producer = {output: node for node in model.graph.node for output in node.output}
    chain: list[onnx.NodeProto] = []
    for kind in ("Div", "Sub", "Transpose", "Cast"):
        node = producer.get(name)
        if node is not None and kind == "Transpose" and node.op_type == "Cast":
            continue
        if node is None or node.op_type != kind or node.name not in parts.outside:
            return None
        if sum(name in other.input for other in model.graph.node) != 1:
            return None
        if kind in ("Div", "Sub") and node.input[1] not in constants:
            return None
        chain.append(node)
        name = node.input[0]
    return chain


def shift_into_bias(model: onnx.ModelProto, pixels: PixelInput) -> None:
    """Add the offsets of ``pixels`` to the first convolution's bias, in place."""
    stem = next(node for node in model.graph.node if node.name == pixels.stem)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    shift = np.einsum("ocyx,c->o", constants[stem.input[1]], pixels.offsets)
    name = f"{pixels.stem}_pixel_bias"
    bias = (constants[stem.input[2]] + shift).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, name))
    stem.input[2] = name


def read_pixels(model: onnx.ModelProto, pixels: PixelInput) -> None:
    """Connect a Q/DQ graph's first convolution to the pixels, in place.

    Normalization and QuantizeLinear are removed.
    """
    to_levels = next(
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == pixels.normalized
    )
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == to_levels.output[0]:
            node.input[0] = pixels.pixels
        if node.name == pixels.transpose:
            node.input[0] = pixels.image
    removed = {*pixels.between, to_levels.name}
    kept = [node for node in model.graph.node if node.name not in removed]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    # The type of the transposed pixels is another now.
    types = [value for value in model.graph.value_info if value.name != pixels.pixels]
    del model.graph.value_info[:]
    model.graph.value_info.extend(types)
