"""Lightweight OpenPose: MobileNet, and two stages of heatmaps and part affinities.

It takes whole images: ``parts`` returns the joints' heatmaps, with all people in them, and for each
limb its direction (part affinities). ``slimpose.adapters.part_affinity`` groups them into people.

Source:
    Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019,
    section 3, after Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity
    Fields", CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.network.baselines.layers import conv_norm, to_heatmaps

LIMBS = 19
_TRUNK_WIDTH = 128
_INITIAL_WIDTH = 512
_MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 1))
"""Width and stride of the blocks up to MobileNet's last stride of 2."""
_DILATED_STAGE_BLOCKS = 5
"""Blocks of 512 after them; the first is dilated instead of strided."""
_REFINEMENT_BLOCKS = 5


def _separable(
    channels_in: int, channels_out: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    depthwise = nn.Conv2d(
        channels_in,
        channels_in,
        3,
        stride,
        dilation,
        dilation=dilation,
        groups=channels_in,
        bias=False,
    )
    pointwise = conv_norm(channels_in, channels_out, 1)
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True), *pointwise)


def _separable_elu(channels: int) -> nn.Sequential:
    """A depthwise and a 1x1 convolution with ELU, without batch norm or biases."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


def _biased(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


class _Trunk(nn.Module):
    """The features shared by both stages."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.align = _biased(channels_in, _TRUNK_WIDTH, 1)
        self.trunk = nn.Sequential(*(_separable_elu(_TRUNK_WIDTH) for _ in range(3)))
        self.conv = _biased(_TRUNK_WIDTH, _TRUNK_WIDTH, 3)

    def forward(self, features: Tensor) -> Tensor:
        aligned = self.align(features)
        return self.conv(aligned + self.trunk(aligned))


class _RefinementBlock(nn.Module):
    """A 1x1 convolution, then two residual 3x3 ones, the second dilated: the reach of a 7x7."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.initial = _biased(channels_in, _TRUNK_WIDTH, 1)
        self.trunk = nn.Sequential(*(self._normed(dilation) for dilation in (1, 2)))

    @staticmethod
    def _normed(dilation: int) -> nn.Sequential:
        convolution = nn.Conv2d(_TRUNK_WIDTH, _TRUNK_WIDTH, 3, padding=dilation, dilation=dilation)
        return nn.Sequential(convolution, nn.BatchNorm2d(_TRUNK_WIDTH), nn.ReLU(inplace=True))

    def forward(self, features: Tensor) -> Tensor:
        initial = self.initial(features)
        return initial + self.trunk(initial)


class _Stage(nn.Module):
    """A trunk, then heatmaps (the last is the background's) and affinities."""

    def __init__(self, trunk: nn.Module, *, width: int, joints: int) -> None:
        super().__init__()
        self.trunk = trunk
        # Nested once more, as the published checkpoint names them.
        self.heatmaps, self.pafs = (
            nn.Sequential(_biased(_TRUNK_WIDTH, width, 1), nn.Sequential(to_heatmaps(width, maps)))
            for maps in (joints + 1, 2 * LIMBS)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(features)
        return self.heatmaps(features), self.pafs(features)


class LightweightOpenPose(nn.Module):
    """Images (n, 3, H, W), sides multiples of 8, to the joints' heatmaps (n, joints, H/8, W/8).

    ``slimpose train`` has no targets for affinities: the last stage's affinities learn nothing, and
    the network becomes a top-down network like the others.

    Args:
        joints: Without the background's map; 18 in the paper: COCO's 17 and the neck.
    """

    def __init__(self, joints: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_norm(3, 32, 3, stride=2)]
        channels = 32
        for width, stride in _MOBILENET:
            blocks.append(_separable(channels, width, stride=stride))
            channels = width
        blocks += [
            _separable(channels, channels, dilation=2 if block == 0 else 1)
            for block in range(_DILATED_STAGE_BLOCKS)
        ]
        self.model = nn.Sequential(*blocks)
        self.cpm = _Trunk(channels)
        initial = nn.Sequential(*(_biased(_TRUNK_WIDTH, _TRUNK_WIDTH, 3) for _ in range(3)))
        self.initial_stage = _Stage(initial, width=_INITIAL_WIDTH, joints=joints)
        channels = _TRUNK_WIDTH + joints + 1 + 2 * LIMBS
        rest = [_RefinementBlock(_TRUNK_WIDTH) for _ in range(_REFINEMENT_BLOCKS - 1)]
        refining = nn.Sequential(_RefinementBlock(channels), *rest)
        self.refinement_stages = nn.ModuleList(
            [_Stage(refining, width=_TRUNK_WIDTH, joints=joints)]
        )

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmaps (n, joints + 1, h, w) and affinities (n, 2 * limbs, h, w).

        The last heatmap is the background's.
        """
        features = self.cpm(self.model(images))
        heatmaps, affinities = self.initial_stage(features)
        for stage in self.refinement_stages:
            heatmaps, affinities = stage(torch.cat([features, heatmaps, affinities], dim=1))
        return heatmaps, affinities

    def forward(self, images: Tensor) -> Tensor:
        """Return the joints' heatmaps."""
        heatmaps, _ = self.parts(images)
        return heatmaps[:, :-1]
