"""A network as a list of layers, described in the terms of hardware data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from slimpose.arrays import Size

Fact = int | float | str | bool
Shape = tuple[int, ...]
NetworkPart = Literal["before", "body", "decoding"]
"""Position of a layer: before the network (normalization), in it, or after it (decoding)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: an operator, or several that hardware computes as one.

    Attributes:
        name: Identifies it; usually the name of its weights.
        kind: What it computes, such as ``depthwise-conv``; an ONNX operator without a kind keeps
            its own name.
        operators: The ONNX operators it consists of.
        inputs: Shapes of the tensors it reads, except constants; None if unknown.
        output: Shape of the tensor it writes; None if unknown.
        part: Position relative to the network.
        block: The squeeze-and-excite block it belongs to, or empty.
        macs: True multiply-adds of convolutions, transposed convolutions and fully connected
            layers.
        facts: Values that the rules of targets refer to; unknown ones are absent.
    """

    name: str
    kind: str
    operators: tuple[str, ...] = ()
    inputs: tuple[Shape | None, ...] = ()
    output: Shape | None = None
    part: NetworkPart = "body"
    block: str = ""
    macs: int = 0
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Padding(NamedTuple):
    """Zeros added to the sides of a map."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWindow:
    """Receptive window of a convolution or pooling; each pair is (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Padding = field(default_factory=Padding)

    def facts(self) -> dict[str, Fact]:
        """Return the window as facts, by the names that rules use."""
        facts: dict[str, Fact] = {}
        for name, (vertical, horizontal) in (
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ):
            facts |= {f"{name}_height": vertical, f"{name}_width": horizontal}
        return facts | {f"pad_{side}": pad for side, pad in self.pads._asdict().items()}


def same_pads(
    size: Size,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    *,
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """Return TensorFlow's "SAME" padding: an odd zero goes to the bottom or the right.

    >>> same_pads(Size(8, 7), (3, 3), (2, 2))
    Padding(top=0, left=1, bottom=1, right=1)
    """
    totals = [
        max((-(-side // step) - 1) * step + (taps - 1) * spread + 1 - side, 0)
        for side, taps, step, spread in zip(size, kernel, stride, dilation, strict=True)
    ]
    return Padding(totals[0] // 2, totals[1] // 2, -(-totals[0] // 2), -(-totals[1] // 2))


def convolution_kind(*, transposed: bool, groups: int, in_channels: int, out_channels: int) -> str:
    """Return the kind of a two-dimensional convolution; engines differ by it."""
    kind = "deconv" if transposed else "conv"
    if groups == 1:
        return kind
    if groups != in_channels:
        return f"grouped-{kind}"
    return f"depthwise-{kind}" if out_channels == in_channels else f"depthwise-{kind}-multiplied"
