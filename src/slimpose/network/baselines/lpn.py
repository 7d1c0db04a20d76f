"""LPN: a ResNet of depthwise convolutions with global context, and grouped deconvolutions.

Source:
    Zhang, Tang and Wu, "Simple and Lightweight Human Pose Estimation", 2019, arXiv:1911.10346,
    section 3; the context block is that of Cao et al., "GCNet", 2019, with its softmax pooling and
    added (not multiplied) context.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from slimpose.network.baselines.layers import conv_norm, to_heatmaps

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_WIDTHS = (64, 128, 256, 512)
_STRIDES = (1, 2, 2, 1)
_DECODER_WIDTH = 256
_CONTEXT_SHARE = 16
_MIN_CONTEXT = 16


class _GlobalContext(nn.Module):
    """Add the same vector to every pixel: a bottleneck of the attention-weighted mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(_MIN_CONTEXT, channels // _CONTEXT_SHARE)
        self.weigh = nn.Conv2d(channels, 1, 1)
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.norm = nn.LayerNorm(narrow)
        self.excite = nn.Conv2d(narrow, channels, 1)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Tensor) -> Tensor:
        weights = self.weigh(features).flatten(2).softmax(dim=2)  # (n, 1, pixels)
        context = (features.flatten(2) * weights).sum(dim=2)[..., None, None]
        narrow = self.norm(self.squeeze(context).flatten(1))[..., None, None]
        return features + self.excite(torch.relu(narrow))


class _Block(nn.Module):
    """1x1, depthwise 3x3, 1x1, global context, and the shortcut; never wider than its output."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            conv_norm(channels_in, channels_out, 1),
            conv_norm(channels_out, channels_out, 3, stride=stride, groups=channels_out),
            conv_norm(channels_out, channels_out, 1, relu=False),
            _GlobalContext(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = conv_norm(channels_in, channels_out, 1, stride=stride, relu=False)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.inner(features) + self.shortcut(features))


class Lpn(nn.Module):
    """Images (n, 3, H, W), sides multiples of 16, to heatmaps (n, joints, H/4, W/4).

    ``depth`` is 50, 101 or 152.
    """

    def __init__(self, depth: int, joints: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv_norm(3, 64, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        )
        blocks: list[nn.Module] = []
        channels = 64
        for width, stage_stride, count in zip(_WIDTHS, _STRIDES, _BLOCKS[depth], strict=True):
            for block in range(count):
                blocks.append(_Block(channels, width, stage_stride if block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.decoder = nn.Sequential(_upsample(channels), _upsample(_DECODER_WIDTH))
        self.to_heatmaps = to_heatmaps(_DECODER_WIDTH, joints)

    def forward(self, images: Tensor) -> Tensor:
        """Return heatmaps."""
        return self.to_heatmaps(self.decoder(self.blocks(self.stem(images))))


def _upsample(channels_in: int) -> nn.Sequential:
    """Return a deconvolution of stride 2 with the most groups possible, and a 1x1 convolution."""
    groups = math.gcd(channels_in, _DECODER_WIDTH)
    deconvolution = nn.ConvTranspose2d(
        channels_in, _DECODER_WIDTH, 4, stride=2, padding=1, groups=groups, bias=False
    )
    return nn.Sequential(
        deconvolution,
        nn.BatchNorm2d(_DECODER_WIDTH),
        nn.ReLU(inplace=True),
        conv_norm(_DECODER_WIDTH, _DECODER_WIDTH, 1),
    )
