"""Pixels given to the first convolution as they are: they have 8 bits already, and need no arithmetic to get there.

Normalized in float and rounded again, (u - 127.5) / 127.5 falls halfway between two levels and
loses every pixel's last bit; and ONNX Runtime, which computes 8-bit convolutions with channels
last, takes 4 of 11 ms to subtract three numbers from a picture in that order. The first convolution
reads u itself instead, the rest is in its bias and its DQ. Where its border is padded, the level
differs by the mean's distance from a whole number.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.export.quantization.graph import GraphParts

_MOST_LEVELS_OFF = 1.0
"""How far the mean of a channel may lie from the common zero point, in gray levels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelInput:
    """A first convolution that reads normalized pixels.

    Attributes:
        stem: The convolution's name.
        normalized: The tensor it reads.
        pixels: The same, uint8, before normalization.
        scale: A level's width in the normalized tensor.
        zero_point: The level that is nearest to 0.
        offsets: (channels,) what the normalized tensor is over ``scale * (u - zero_point)``.
        between: Names of the nodes from ``pixels`` to ``normalized``.
    """

    stem: str
    normalized: str
    pixels: str
    scale: float
    zero_point: int
    offsets: np.ndarray
    between: tuple[str, ...]


def pixel_input(model: onnx.ModelProto, parts: GraphParts) -> PixelInput | None:
    """Return the first convolution that reads ``(cast(pixels) - mean) / deviation``, or None.

    None too where the channels differ in their deviation, or their means by more than a level or
    two: no common zero point and scale are near enough then.
    """
    constants = {entry.name: entry for entry in model.graph.initializer}
    maker = {output: node for node in model.graph.node for output in node.output}
    stem = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    chain: list[onnx.NodeProto] = []
    name = "" if stem is None else stem.input[0]
    for kind in ("Div", "Sub", "Cast"):
        node = maker.get(name)
        if node is None or node.op_type != kind or node.name not in parts.outside:
            return None
        if sum(name in other.input for other in model.graph.node) != 1:
            return None
        if kind != "Cast" and node.input[1] not in constants:
            return None
        chain.append(node)
        name = node.input[0]
    assert stem is not None
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
        or np.abs(mean - zero_point).max() > _MOST_LEVELS_OFF
        or not 0 <= zero_point <= 255
    ):
        return None
    return PixelInput(
        stem=stem.name,
        normalized=stem.input[0],
        pixels=name,
        scale=float(1 / deviation[0]),
        zero_point=zero_point,
        offsets=(zero_point - mean) / deviation[0],
        between=tuple(node.name for node in chain),
    )


def shift_into_bias(model: onnx.ModelProto, pixels: PixelInput) -> None:
    """Let the first convolution's bias hold what the zero point leaves over, in place."""
    stem = next(node for node in model.graph.node if node.name == pixels.stem)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    added = np.einsum("ocyx,c->o", constants[stem.input[1]], pixels.offsets)
    name = f"{pixels.stem}_pixel_bias"
    bias = (constants[stem.input[2]] + added).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, name))
    stem.input[2] = name


def read_pixels(model: onnx.ModelProto, pixels: PixelInput) -> None:
    """Let a Q/DQ graph's first convolution read the pixels, in place; their normalization and Q go."""
    to_levels = next(
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == pixels.normalized
    )
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == to_levels.output[0]:
            node.input[0] = pixels.pixels
    _remove(model, {*pixels.between, to_levels.name})


def _remove(model: onnx.ModelProto, names: Collection[str]) -> None:
    kept = [node for node in model.graph.node if node.name not in names]
    del model.graph.node[:]
    model.graph.node.extend(kept)
