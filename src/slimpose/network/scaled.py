"""MobileNetV2 and EfficientNet-Lite of any width, depth and channel rounding.

Source:
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019, table 1 and section 3.3. Lite: the same with ReLU6 and without squeeze-and-excite; stem,
    first and last stage stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil

from timm.layers import make_divisible
from timm.models import efficientnet
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn

from slimpose.network.spec import NetSpec

_MAPS_AT = {4: 1, 8: 2, 16: 4, 32: 6}
"""The stage whose output is the encoder's map of each stride."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first has the stride. Expansion 1: a depthwise separable block."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


@dataclass(frozen=True, slots=True)
class Design:
    """An encoder before it is scaled.

    Attributes:
        stages: From fine to coarse.
        stem: Channels of the first convolution.
        fixed_stem: Whether the width multiplier does not apply to the stem.
    """

    stages: tuple[Stage, ...]
    stem: int
    fixed_stem: bool


DESIGNS: dict[str, Design] = {
    "mobilenetv2_100": Design(
        stem=32,
        fixed_stem=False,
        stages=(
            Stage(3, 1, 1, 16, 1),
            Stage(3, 2, 6, 24, 2),
            Stage(3, 2, 6, 32, 3),
            Stage(3, 2, 6, 64, 4),
            Stage(3, 1, 6, 96, 3),
            Stage(3, 2, 6, 160, 3),
            Stage(3, 1, 6, 320, 1),
        ),
    ),
    "tf_efficientnet_lite0": Design(
        stem=32,
        fixed_stem=True,
        stages=(
            Stage(3, 1, 1, 16, 1),
            Stage(3, 2, 6, 24, 2),
            Stage(5, 2, 6, 40, 2),
            Stage(3, 2, 6, 80, 3),
            Stage(5, 1, 6, 112, 3),
            Stage(5, 2, 6, 192, 4),
            Stage(3, 1, 6, 320, 1),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One inverted residual: 1x1, depthwise, 1x1, added to the input where shapes match.

    Attributes:
        name: timm's name, such as ``blocks.2.0``.
        kernel: Size of the depthwise convolution.
        stride: Of the depthwise convolution.
        channels: Of the input, the depthwise convolution and the output.
        expands: Whether there is a first 1x1 convolution.
    """

    name: str
    kernel: int
    stride: int
    channels: tuple[int, int, int]
    expands: bool

    @property
    def is_residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.channels[0] == self.channels[2]


def is_scaled(spec: NetSpec) -> bool:
    """Return whether a spec changes the width, depth or rounding of its encoder."""
    return (spec.width_multiplier, spec.depth_multiplier, spec.round_to) != (1.0, 1.0, 8)


def stem_channels(spec: NetSpec) -> int:
    """Return the channels of the first convolution."""
    design = _design(spec)
    if design.fixed_stem and spec.round_to == 8:
        return design.stem
    width = 1.0 if design.fixed_stem else spec.width_multiplier
    return make_divisible(design.stem * width, spec.round_to)


def blocks(spec: NetSpec) -> tuple[Block, ...]:
    """Return the encoder's blocks up to the map the decoder reads.

    Raises:
        ValueError: If the encoder cannot be scaled.
    """
    design = _design(spec)
    result: list[Block] = []
    width = stem_channels(spec)
    for index, (stage, repeats) in enumerate(zip(design.stages, _repeats(spec), strict=True)):
        if index > _MAPS_AT[spec.encoder_stride]:
            break
        # To the nearest multiple, at most a tenth below, as in both papers' code.
        out = make_divisible(stage.channels * spec.width_multiplier, spec.round_to)
        for repeat in range(repeats):
            result.append(
                Block(
                    name=f"blocks.{index}.{repeat}",
                    kernel=stage.kernel,
                    stride=stage.stride if repeat == 0 else 1,
                    channels=(width, width * stage.expansion, out),
                    expands=stage.expansion != 1,
                )
            )
            width = out
    return tuple(result)


def build(spec: NetSpec, *, out_indices: tuple[int, ...]) -> nn.Module:
    """Return the timm encoder with random weights and TF "SAME" padding.

    Raises:
        ValueError: If the encoder cannot be scaled.
    """
    design = _design(spec)
    definition = [
        [
            f"{'ds' if stage.expansion == 1 else 'ir'}_r1_k{stage.kernel}_s{stage.stride}"
            f"_e{stage.expansion}_c{stage.channels}"
        ]
        for stage in design.stages
    ]
    block_args = decode_arch_def(definition)
    repeated = [
        [dict(stage[0]) | ({"stride": 1} if repeat else {}) for repeat in range(count)]
        for stage, count in zip(block_args, _repeats(spec), strict=True)
    ]
    return efficientnet._create_effnet(  # pyright: ignore[reportPrivateUsage]
        spec.encoder,
        pretrained=False,
        block_args=repeated,
        num_features=1280,
        stem_size=stem_channels(spec),
        fix_stem=True,
        round_chs_fn=lambda channels: make_divisible(
            channels * spec.width_multiplier, spec.round_to
        ),
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3 if spec.encoder.startswith("tf_") else 1e-5),
        act_layer=nn.ReLU6,
        pad_type="same",
        features_only=True,
        out_indices=out_indices,
    )


def _design(spec: NetSpec) -> Design:
    if spec.encoder not in DESIGNS:
        plain = {"width_multiplier": 1.0, "depth_multiplier": 1.0, "round_to": 8}
        name = next(
            (name for name, value in plain.items() if getattr(spec, name) != value),
            "width_multiplier",
        )
        first, *others = DESIGNS
        raise ValueError(
            f"{name} {getattr(spec, name):g} needs {first}, got {spec.encoder!r} "
            f"({', '.join(others)} can be scaled too)"
        )
    return DESIGNS[spec.encoder]


def _repeats(spec: NetSpec) -> list[int]:
    """Blocks of each stage; the depth multiplier does not apply to the first and the last."""
    repeats = [stage.repeats for stage in _design(spec).stages]
    return [
        repeats[0],
        *(ceil(count * spec.depth_multiplier - 1e-9) for count in repeats[1:-1]),
        repeats[-1],
    ]
