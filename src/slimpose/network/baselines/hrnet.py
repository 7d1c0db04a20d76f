"""HRNet for poses: parallel branches of four resolutions that exchange features.

Modules have the names under which the published checkpoints store their weights.

Source:
    Sun, Xiao, Liu and Wang, "Deep High-Resolution Representation Learning for Human Pose
    Estimation", CVPR 2019, section 3 (figure 1 the network, figure 3 the exchange units).
"""

from __future__ import annotations

from torch import Tensor, nn

from slimpose.network.baselines.layers import conv_norm, to_heatmaps

_STEM_WIDTH = 64
_STAGE_1_BLOCKS = 4
_MODULES = (1, 4, 3)
"""Exchange modules of stages 2, 3, 4; a stage has as many branches as its number."""
_BRANCH_BLOCKS = 4


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the width, and the shortcut."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        channels_out = 4 * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.downsample = conv_norm(channels_in, channels_out, 1, relu=False)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(features))


class _Block(nn.Module):
    """Two 3x3 convolutions and the shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(inner)) + features)


def _resample(target: int, source: int, widths: tuple[int, ...]) -> nn.Module:
    """Return layers from the resolution and width of branch ``source`` to those of ``target``."""
    if source == target:
        return nn.Identity()
    if source > target:
        mixed = conv_norm(widths[source], widths[target], 1, relu=False)
        return nn.Sequential(
            *mixed, nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        )
    steps = target - source
    halvings = [conv_norm(widths[source], widths[source], 3, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(
        *halvings, conv_norm(widths[source], widths[target], 3, stride=2, relu=False)
    )


class _Module(nn.Module):
    """Four blocks per branch; then each of the finest ``outputs`` branches sums all branches."""

    def __init__(self, widths: tuple[int, ...], *, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(_BRANCH_BLOCKS))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resample(target, source, widths) for source in range(len(widths)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(features) for branch, features in zip(self.branches, maps, strict=True)]
        fused: list[Tensor] = []
        for layers in self.fuse_layers:
            parts = [part(features) for part, features in zip(layers, maps, strict=True)]  # pyright: ignore[reportArgumentType]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(self.relu(total))
        return fused


class Hrnet(nn.Module):
    """Images (n, 3, H, W), sides multiples of 32, to heatmaps (n, joints, H/4, W/4).

    ``width`` is the channels of the finest branch (32 or 48); each coarser one has twice as many.
    """

    def __init__(self, width: int, joints: int) -> None:
        super().__init__()
        widths = tuple(width * 2**branch for branch in range(4))
        self.conv1 = nn.Conv2d(3, _STEM_WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_WIDTH)
        self.conv2 = nn.Conv2d(_STEM_WIDTH, _STEM_WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(_STEM_WIDTH)
        self.relu = nn.ReLU(inplace=True)
        rest = [_Bottleneck(4 * _STEM_WIDTH, _STEM_WIDTH) for _ in range(_STAGE_1_BLOCKS - 1)]
        self.layer1 = nn.Sequential(_Bottleneck(_STEM_WIDTH, _STEM_WIDTH), *rest)
        # Published names: parts of a transition are numbered by branch, a strided one is nested.
        self.transition1 = nn.ModuleList(
            [
                conv_norm(4 * _STEM_WIDTH, widths[0], 3),
                nn.Sequential(conv_norm(4 * _STEM_WIDTH, widths[1], 3, stride=2)),
            ]
        )
        self.transition2 = _new_branch(widths[1], widths[2], branch=2)
        self.transition3 = _new_branch(widths[2], widths[3], branch=3)
        self.stage2 = nn.ModuleList(_Module(widths[:2], outputs=2) for _ in range(_MODULES[0]))
        self.stage3 = nn.ModuleList(_Module(widths[:3], outputs=3) for _ in range(_MODULES[1]))
        self.stage4 = nn.ModuleList(
            _Module(widths, outputs=1 if module == _MODULES[2] - 1 else 4)
            for module in range(_MODULES[2])
        )
        self.final_layer = to_heatmaps(width, joints)

    def forward(self, images: Tensor) -> Tensor:
        """Return heatmaps."""
        stem = self.relu(self.bn1(self.conv1(images)))
        stem = self.layer1(self.relu(self.bn2(self.conv2(stem))))
        maps = [transition(stem) for transition in self.transition1]
        for stage, grow in (
            (self.stage2, self.transition2),
            (self.stage3, self.transition3),
            (self.stage4, None),
        ):
            for module in stage:
                maps = module(maps)
            if grow is not None:
                maps = [*maps, grow[-1](maps[-1])]
        return self.final_layer(maps[0])


def _new_branch(channels_in: int, channels_out: int, *, branch: int) -> nn.ModuleList:
    """Return the transition that adds a branch from the coarsest one; the others are unchanged."""
    grown = nn.Sequential(conv_norm(channels_in, channels_out, 3, stride=2))
    return nn.ModuleList([*(nn.Identity() for _ in range(branch)), grown])
