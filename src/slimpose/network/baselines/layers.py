"""Layers that several of the architectures share."""

from __future__ import annotations

from torch import nn


def conv_norm(
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    relu: bool = True,
) -> nn.Sequential:
    """Return a convolution of odd kernel with "same" padding and no bias, batch norm, and ReLU."""
    padding = kernel // 2
    layers = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def to_heatmaps(channels: int, joints: int) -> nn.Conv2d:
    """Return the last 1x1 convolution, initialized near zero: early heatmaps are nearly empty."""
    convolution = nn.Conv2d(channels, joints, 1)
    nn.init.normal_(convolution.weight, std=1e-3)
    nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
    return convolution
