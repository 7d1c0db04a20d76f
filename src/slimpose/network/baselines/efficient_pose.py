"""EfficientPose A, B and C: searched inverted residuals to stride 16, then deconvolutions.

Source:
    Zhang, Fang, Wang and Liu, "EfficientPose: Efficient Human Pose Estimation with Neural
    Architecture Search", 2020, arXiv:2012.07086 (no relation to the EfficientNet-based pose
    estimators of the same name). The searched blocks are taken from the model definitions
    that the authors published.
"""

from __future__ import annotations

from torch import Tensor, nn

from slimpose.network.baselines.layers import conv_norm, to_heatmaps

_DECONVOLUTIONS = (64, 32)

_Stage = tuple[int, int, str]
"""Channels, stride of the first block, and the blocks as kernel x expansion, ``-`` for none."""

_SEARCHED: dict[str, tuple[int, tuple[_Stage, ...]]] = {
    "a": (
        16,
        (
            (24, 2, "3x6 7x3 3x6 3x3"),
            (32, 2, "3x6 3x3 5x3 3x3 3x3 3x3"),
            (64, 2, "5x6 7x3 7x3 7x3 7x3 7x3 7x3 7x3"),
            (96, 1, "5x6 5x6 7x6 5x6 7x3 7x3 7x3 7x6"),
        ),
    ),
    "b": (
        24,
        (
            (32, 2, "3x6 3x6 5x3 7x3 5x3 7x3"),
            (64, 2, "5x6 5x3 7x3 7x3 7x3 7x3 7x3 7x3"),
            (96, 2, "7x6 5x6 5x6 7x3 7x3 3x6 7x3 7x6 7x6 7x3"),
            (160, 1, "7x3 7x3 7x3 7x3 7x3 7x3 - 7x3 7x6 7x3"),
        ),
    ),
    "c": (
        24,
        (
            (32, 2, "5x3 3x6 3x3 3x3 - 5x3"),
            (64, 2, "3x6 7x6 5x6 3x6 5x6 3x6 3x6 3x6"),
            (96, 2, "7x6 7x6 7x6 7x6 7x6 7x6 7x6 7x6 7x3 7x6"),
            (160, 1, "7x6 7x6 7x3 7x3 7x6 7x6 7x6 7x6 7x6 7x6"),
        ),
    ),
}
"""By variant: channels after the stem, then the stages."""


class _InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, 1x1 without activation, and the shortcut where shapes match."""

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, expansion: int, stride: int
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.inner = nn.Sequential(
            conv_norm(channels_in, wide, 1),
            conv_norm(wide, wide, kernel, stride=stride, groups=wide),
            conv_norm(wide, channels_out, 1, relu=False),
        )
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        return features + self.inner(features) if self.adds else self.inner(features)


class EfficientPose(nn.Module):
    """Images (n, 3, H, W), sides multiples of 16, to heatmaps (n, joints, H/4, W/4).

    ``variant`` is "a", "b" or "c".
    """

    def __init__(self, variant: str, joints: int) -> None:
        super().__init__()
        channels, stages = _SEARCHED[variant]
        self.stem = nn.Sequential(
            conv_norm(3, 32, 3, stride=2),
            conv_norm(32, 32, 3, groups=32),
            conv_norm(32, channels, 1, relu=False),
        )
        blocks: list[nn.Module] = []
        for width, stride, searched in stages:
            for index, block in enumerate(searched.split()):
                if block == "-":
                    continue
                kernel, expansion = map(int, block.split("x"))
                first = stride if index == 0 else 1
                blocks.append(
                    _InvertedResidual(
                        channels, width, kernel=kernel, expansion=expansion, stride=first
                    )
                )
                channels = width
        self.blocks = nn.Sequential(*blocks)
        decoder: list[nn.Module] = []
        for width in _DECONVOLUTIONS:
            deconvolution = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1, bias=False)
            decoder += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.decoder = nn.Sequential(*decoder)
        # The authors' spatial correction after narrow deconvolutions: a depthwise convolution.
        self.correction = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.to_heatmaps = to_heatmaps(channels, joints)

    def forward(self, images: Tensor) -> Tensor:
        """Return heatmaps."""
        decoded = self.decoder(self.blocks(self.stem(images)))
        return self.to_heatmaps(self.relu(self.correction(decoded)))
