"""Stacked Hourglass: eight encoder-decoders to 1/64 of the image, each refining the heatmaps.

Source:
    Newell, Yang and Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016,
    section 3: 256 features throughout, one residual module at each position of figure 3, max
    pooling down, nearest neighbors up, sums as skips, and the heatmaps of each hourglass mapped
    back into the features of the next.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from slimpose.network.baselines.layers import conv_norm, to_heatmaps

_FEATURES = 256
_LEVELS = 4


class _Residual(nn.Module):
    """1x1 to half the width, 3x3, 1x1, each after batch norm and ReLU (He et al., ECCV 2016)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.inner = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, channels_out, 1),
        )
        same = channels_in == channels_out
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.inner(features) + self.shortcut(features)


class _Hourglass(nn.Module):
    """One level: a residual skip, plus pooling, residual, the next level, residual, upsampling."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.skip = _Residual(_FEATURES, _FEATURES)
        self.down = _Residual(_FEATURES, _FEATURES)
        self.below: nn.Module = (
            _Hourglass(levels - 1) if levels > 1 else _Residual(_FEATURES, _FEATURES)
        )
        self.up = _Residual(_FEATURES, _FEATURES)

    def forward(self, features: Tensor) -> Tensor:
        low = self.up(self.below(self.down(F.max_pool2d(features, 2))))
        return self.skip(features) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class _Stage(nn.Module):
    """An hourglass, its heatmaps, and, except in the last stage, the features of the next stage."""

    def __init__(self, joints: int, *, is_last: bool) -> None:
        super().__init__()
        self.hourglass = _Hourglass(_LEVELS)
        self.residual = _Residual(_FEATURES, _FEATURES)
        self.mix = conv_norm(_FEATURES, _FEATURES, 1)
        self.to_heatmaps = to_heatmaps(_FEATURES, joints)
        self.features_back = None if is_last else nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.heatmaps_back = None if is_last else nn.Conv2d(joints, _FEATURES, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return this stage's heatmaps and the features of the next stage."""
        mixed = self.mix(self.residual(self.hourglass(features)))
        heatmaps = self.to_heatmaps(mixed)
        if self.features_back is None or self.heatmaps_back is None:
            return heatmaps, mixed
        return heatmaps, features + self.features_back(mixed) + self.heatmaps_back(heatmaps)


class StackedHourglass(nn.Module):
    """Images (n, 3, H, W), sides multiples of 64, to heatmaps (n, joints, H/4, W/4).

    The paper supervises every stage's heatmaps; here only the last stage's are returned, so
    ``slimpose train`` trains without that intermediate supervision. A stage is an hourglass.
    """

    def __init__(self, stages: int, joints: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            _Residual(64, 128),
            nn.MaxPool2d(2),
            _Residual(128, 128),
            _Residual(128, _FEATURES),
        )
        self.stages = nn.ModuleList(
            _Stage(joints, is_last=stage == stages - 1) for stage in range(stages)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return heatmaps."""
        features = self.stem(images)
        heatmaps = features
        for stage in self.stages:
            heatmaps, features = stage(features)
        return heatmaps
