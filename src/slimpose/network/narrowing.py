"""The inner channels of inverted residual blocks: where they are, and how a block does with fewer of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """A block's inner channels: ``expand`` makes them, ``depthwise`` filters each by itself, ``project`` mixes them.

    The first block has no expansion of its own; the stem makes its channels.
    """

    block: nn.Module
    expand: nn.Conv2d
    expand_norm: nn.BatchNorm2d
    depthwise: nn.Conv2d
    depthwise_norm: nn.BatchNorm2d
    project: nn.Conv2d
    project_norm: nn.BatchNorm2d

    @property
    def width(self) -> int:
        """How many there are."""
        return self.depthwise.out_channels

    @property
    def is_residual(self) -> bool:
        """Whether the block's input is added to its output (timm says ``has_skip``)."""
        return bool(getattr(self.block, "has_skip", False))

    def keep(self, channels: Tensor) -> None:
        """Take all but these channels (indices) out, in place."""
        for convolution, norm in (
            (self.expand, self.expand_norm),
            (self.depthwise, self.depthwise_norm),
        ):
            convolution.weight = nn.Parameter(convolution.weight.detach()[channels].clone())
            convolution.out_channels = len(channels)
            for name in ("weight", "bias"):
                setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[channels].clone()))
            for name in ("running_mean", "running_var"):
                setattr(norm, name, getattr(norm, name)[channels].clone())
            norm.num_features = len(channels)
        self.depthwise.groups = self.depthwise.in_channels = self.project.in_channels = len(
            channels
        )
        self.project.weight = nn.Parameter(self.project.weight.detach()[:, channels].clone())


def hidden_layers(body: nn.Module) -> list[HiddenLayer]:
    """Return the blocks of a timm encoder, from fine to coarse.

    Raises:
        ValueError: If it is not made of plain inverted residual blocks, as MobileNetV2 and
            EfficientNet-Lite are.
    """
    stages = getattr(body, "blocks", None)
    blocks = (
        [block for stage in stages for block in stage.children()]
        if isinstance(stages, nn.Sequential)
        else []
    )
    found = [_inner(block, body if place == 0 else None) for place, block in enumerate(blocks)]
    plain = [inner for inner in found if inner is not None]
    if not plain or len(plain) < len(found):
        raise ValueError(
            "inner channels can be taken out of plain inverted residual blocks only; "
            "expected an encoder such as MobileNetV2 or EfficientNet-Lite, without squeeze-and-excite"
        )
    return plain


def _inner(block: nn.Module, stem_of: nn.Module | None) -> HiddenLayer | None:
    """A block's inner channels; those of one that expands nothing come from the stem of ``stem_of``."""
    if not isinstance(getattr(block, "se", None), nn.Identity):
        return None
    if type(block) is InvertedResidual:
        layers = [(block, name) for name in ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")]
    elif type(block) is DepthwiseSeparableConv and stem_of is not None:
        layers = [(stem_of, name) for name in ("conv_stem", "bn1")]
        layers += [(block, name) for name in ("conv_dw", "bn1", "conv_pw", "bn2")]
    else:
        return None
    return HiddenLayer(block, *(getattr(module, name) for module, name in layers))


def narrow(body: nn.Module, widths: Sequence[int]) -> None:
    """Leave each block of an untrained encoder so many inner channels.

    Raises:
        ValueError: If there are not as many widths as blocks, or a block has fewer channels.
    """
    blocks = hidden_layers(body)
    if len(blocks) != len(widths):
        raise ValueError(f"inner_widths names {len(widths)} blocks; this encoder has {len(blocks)}")
    for place, (inner, width) in enumerate(zip(blocks, widths, strict=True)):
        if not 0 < width <= inner.width:
            raise ValueError(
                f"inner_widths asks block {place} for {width} channels; expected 1 to {inner.width}"
            )
        inner.keep(torch.arange(width))
