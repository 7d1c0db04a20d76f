"""A network as a list of layers that speak the words of a chip's data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

from slimpose.arrays import Size

Fact = int | float | str | bool
Shape = tuple[int, ...]
NetworkPart = Literal["before", "body", "decoding"]
"""Where a layer stands: before the network (normalizing pixels), in it, or behind its maps (decoding them)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: an operator, or several that a chip computes as one.

    Attributes:
        name: What tells it from others, mostly the name of its weights.
        kind: What it computes in the words of the targets, such as ``depthwise-conv``; an ONNX
            operator without such a word keeps its own name.
        operators: ONNX operators it is made of.
        inputs: Shapes of the maps it reads, constants left out; None where the file does not tell.
        output: Shape of what it writes.
        part: Where it stands.
        block: The squeeze-and-excite block it belongs to, or empty.
        macs: True multiply-adds of convolutions, transposed convolutions and fully connected
            layers.
        facts: What the targets' rules speak of; a fact that the file does not tell is absent.
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
    """Zeros added to a map's sides."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWindow:
    """What a convolution or a pooling sees of its input: each value down, then across."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Padding = field(default_factory=Padding)

    def facts(self) -> dict[str, Fact]:
        """Return the window's facts under the names that rules use."""
        facts: dict[str, Fact] = {}
        for name, (down, across) in (
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ):
            facts |= {f"{name}_height": down, f"{name}_width": across}
        return facts | {f"pad_{side}": pad for side, pad in self.pads._asdict().items()}


def same_pads(
    size: Size,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    *,
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """Return TensorFlow's "SAME" padding of a convolution: the odd zero goes to the bottom and to the right."""
    totals = [
        max((-(-side // step) - 1) * step + (taps - 1) * spread + 1 - side, 0)
        for side, taps, step, spread in zip(size, kernel, stride, dilation, strict=True)
    ]
    return Padding(totals[0] // 2, totals[1] // 2, -(-totals[0] // 2), -(-totals[1] // 2))


def convolution_kind(*, transposed: bool, groups: int, in_channels: int, out_channels: int) -> str:
    """Return the kind of a two-dimensional convolution: chips compute these on different engines."""
    kind = "deconv" if transposed else "conv"
    if groups == 1:
        return kind
    if groups != in_channels:
        return f"grouped-{kind}"
    return f"depthwise-{kind}" if out_channels == in_channels else f"depthwise-{kind}-multiplied"


def convolution_macs(
    *, kernel: tuple[int, ...], groups: int, in_channels: int, out_channels: int, places: int
) -> int:
    """Return multiply-adds where they are computed: weight elements times output pixels, input pixels if transposed."""
    return prod(kernel) * in_channels * out_channels // groups * places
