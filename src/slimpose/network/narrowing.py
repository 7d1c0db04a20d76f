"""Hidden channels of inverted residual blocks: find them, and remove some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """The layers around a block's hidden channels (``NetSpec.inner_widths``).

    ``expand`` produces them, ``depthwise`` filters each one, ``project`` mixes them. The first
    block has no expansion; the stem produces its channels.
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
        """The number of hidden channels."""
        return self.depthwise.out_channels

    @property
    def is_residual(self) -> bool:
        """Whether the block's input is added to its output (timm: ``has_skip``)."""
        return bool(getattr(self.block, "has_skip", False))

    def keep(self, channels: Tensor) -> None:
        """Remove all channels but these (indices), in place."""
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
        width = len(channels)
        self.depthwise.groups = self.depthwise.in_channels = self.project.in_channels = width
        self.project.weight = nn.Parameter(self.project.weight.detach()[:, channels].clone())


def hidden_layers(body: nn.Module) -> list[HiddenLayer]:
    """Return the hidden layers of a timm encoder's blocks, from fine to coarse.

    Raises:
        ValueError: If it does not consist of plain inverted residual blocks, as MobileNetV2 and
            EfficientNet-Lite do.
    """
    stages = getattr(body, "blocks", None)
    blocks: list[nn.Module] = []
    if isinstance(stages, nn.Sequential):
        blocks = [block for stage in stages for block in stage.children()]
    layers = [
        _hidden_layer(block, body if index == 0 else None) for index, block in enumerate(blocks)
    ]
    plain = [layer for layer in layers if layer is not None]
    if not plain or len(plain) < len(layers):
        raise ValueError(
            "hidden channels can be removed from plain inverted residual blocks only; expected an "
            "encoder such as MobileNetV2 or EfficientNet-Lite without squeeze-and-excite"
        )
    return plain


def _hidden_layer(block: nn.Module, stem_of: nn.Module | None) -> HiddenLayer | None:
    """Return a block's hidden layer, if it has one; ``stem_of`` has the first block's stem."""
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
    """Reduce the hidden channels of an untrained encoder's blocks to the given widths.

    Raises:
        ValueError: If there are not as many widths as blocks, or a block has fewer channels.
    """
    blocks = hidden_layers(body)
    if len(blocks) != len(widths):
        raise ValueError(f"inner_widths names {len(widths)} blocks; this encoder has {len(blocks)}")
    for index, (layer, width) in enumerate(zip(blocks, widths, strict=True)):
        if not 0 < width <= layer.width:
            raise ValueError(
                f"inner_widths asks block {index} for {width} channels; expected 1 to {layer.width}"
            )
        layer.keep(torch.arange(width))
