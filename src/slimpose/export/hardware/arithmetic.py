"""Layers of a scaled network derived from its spec, as the linter would read them in its file."""

from __future__ import annotations

from math import prod

from slimpose.arrays import Size
from slimpose.export.hardware.layers import (
    Fact,
    KernelWindow,
    Layer,
    Padding,
    convolution_kind,
    same_pads,
)
from slimpose.network.scaled import blocks, stem_channels
from slimpose.network.spec import NetSpec

_COLORS = 3


def layers_of_spec(spec: NetSpec) -> list[Layer]:
    """Return the layers of a pose network in the order of computation.

    Only networks with a scaled encoder, ReLU or ReLU6 and no skips are supported.

    Raises:
        ValueError: If the spec is of another network.
    """
    if spec.skip != "none" or spec.activation not in ("relu", "relu6"):
        raise ValueError(
            f"cannot derive the layers of a network with skip {spec.skip!r} and activation "
            f"{spec.activation!r}; expected skip none and activation relu or relu6"
        )
    chain = _Chain(spec.size, _COLORS, activation=spec.activation)
    chain.convolve("conv_stem", 3, stem_channels(spec), stride=2)
    for block in blocks(spec):
        _, inner, out = block.channels
        if block.expands:
            chain.convolve(f"{block.name}.conv_pw", 1, inner)
        chain.convolve(
            f"{block.name}.conv_dw", block.kernel, inner, stride=block.stride, depthwise=True
        )
        last = f"{block.name}.{'conv_pwl' if block.expands else 'conv_pw'}"
        chain.convolve(last, 1, out, activated=False)
        if block.is_residual:
            chain.add()
    chain.activation = "relu"
    if spec.head_width:
        chain.convolve("head", 1, spec.head_width)
    for level, width in enumerate(spec.deconv_widths):
        chain.upsample(f"deconvolutions.{level}", width)
    chain.convolve("to_heatmaps", 1, spec.joints, activated=False)
    return chain.layers


def macs_of_spec(spec: NetSpec) -> int:
    """Return the multiply-adds of ``layers_of_spec`` without building the layers."""
    side = [-(-spec.size.height // 2), -(-spec.size.width // 2)]
    width = stem_channels(spec)
    macs = side[0] * side[1] * 9 * _COLORS * width
    for block in blocks(spec):
        read, inner, width = block.channels
        macs += side[0] * side[1] * read * inner * block.expands
        side = [-(-length // block.stride) for length in side]
        macs += side[0] * side[1] * inner * (block.kernel**2 + width)
    if spec.head_width:
        macs += side[0] * side[1] * width * spec.head_width
        width = spec.head_width
    for channels in spec.deconv_widths:
        macs += side[0] * side[1] * 16 * width * channels
        side, width = [2 * length for length in side], channels
    return macs + side[0] * side[1] * width * spec.joints


class _Chain:
    """Builds a sequence of layers, starting at the image."""

    def __init__(self, size: Size, channels: int, *, activation: str) -> None:
        self.layers: list[Layer] = []
        self.activation = activation
        self.size = size
        self.channels = channels
        self.tail = "input"

    def convolve(
        self,
        name: str,
        kernel: int,
        channels: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activated: bool = True,
    ) -> None:
        """Append a convolution with TF "SAME" padding and folded batch norm, and its activation."""
        pads = same_pads(self.size, (kernel, kernel), (stride, stride))
        window = KernelWindow(kernel=(kernel, kernel), stride=(stride, stride), pads=pads)
        size = Size(-(-self.size.height // stride), -(-self.size.width // stride))
        self._weighted(name, window, channels, size=size, groups=self.channels if depthwise else 1)
        if activated:
            self._activate()

    def upsample(self, name: str, channels: int) -> None:
        """Append a transposed convolution of kernel 4, stride 2, padding 1, and its activation."""
        window = KernelWindow(kernel=(4, 4), stride=(2, 2), pads=Padding(1, 1, 1, 1))
        size = Size(2 * self.size.height, 2 * self.size.width)
        self._weighted(name, window, channels, size=size, transposed=True)
        self._activate()

    def add(self) -> None:
        """Append the addition of an earlier map of the same shape."""
        self._append("add", "add", "Add", operands="same", channels=self.channels, inputs=2)

    def _weighted(
        self,
        name: str,
        window: KernelWindow,
        channels: int,
        *,
        size: Size,
        groups: int = 1,
        transposed: bool = False,
    ) -> None:
        positions = self.size if transposed else size
        shape = {"groups": groups, "in_channels": self.channels, "out_channels": channels}
        weights = prod(window.kernel) * self.channels * channels // groups
        facts: dict[str, Fact] = {**window.facts(), **shape, "reads_input": self.tail == "input"}
        if transposed:
            facts |= {"output_padding_height": 0, "output_padding_width": 0}
        read = (1, self.channels, *self.size)
        self.size, self.channels = size, channels
        self._append(
            name,
            convolution_kind(transposed=transposed, **shape),
            "ConvTranspose" if transposed else "Conv",
            read=read,
            macs=weights * positions.height * positions.width,
            spatial_rank=2,
            constant_weights=True,
            auto_pad="NOTSET",
            **facts,
        )

    def _activate(self) -> None:
        kind, operator = self.activation, "Relu" if self.activation == "relu" else "Clip"
        self._append(kind, kind, operator, constant_bounds=True, channels=self.channels)

    def _append(
        self,
        name: str,
        kind: str,
        operator: str,
        *,
        read: tuple[int, ...] | None = None,
        macs: int = 0,
        **facts: Fact,
    ) -> None:
        written = (1, self.channels, *self.size)
        common: dict[str, Fact] = {"input_type": "float", "output_type": "float", "rank": 4}
        common |= {"inputs": 1, "outputs": 1, "after": self.tail}
        self.layers.append(
            Layer(
                name=name,
                kind=kind,
                operators=(operator,),
                inputs=(read or written,),
                output=written,
                macs=macs,
                facts={**common, **facts},
            )
        )
        self.tail = kind
