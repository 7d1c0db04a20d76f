"""The high-resolution pose network: parallel branches of four strides, of gated residual units.

Source:
    Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    arXiv:1908.07919 (branches that exchange their maps); Yu et al., "Lite-HRNet", CVPR 2021 (stem,
    separable convolutions, head from coarse to fine). The widths are PP-TinyPose's, whose function
    this network can represent exactly (``network/published/tinypose.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose import fields
from slimpose.arrays import Size
from slimpose.geometry import CellAlignment
from slimpose.network.alignment import align_heatmaps
from slimpose.network.imagenet_pixels import ImageNetPixels
from slimpose.network.sized_spec import SizedSpec
from slimpose.network.spec import WIDEST
from slimpose.tasks import Task

_COARSEST_STRIDE = 32
_LIMITS: dict[str, tuple[float, float]] = {
    "units": (1, 100),
    "stem_width": (2, WIDEST),
    "joints": (1, WIDEST),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HighResolutionSpec(SizedSpec):
    """Specification of a high-resolution pose network, stored in the metadata of files.

    Attributes:
        architecture: Distinguishes it from other specs.
        widths: Channels of the branches of stride 4, 8, 16 and 32.
        inner_widths: Channels within the units of each branch.
        modules: Exchanges of maps between two, three and four branches.
        units: Units of a branch between two exchanges.
        stem_width: Channels of the stem.
        size: Input (height, width), multiples of 32.
        joints: Number of heatmaps.
    """

    architecture: Literal["high-resolution"] = "high-resolution"
    widths: tuple[int, ...] = (40, 80, 160, 320)
    inner_widths: tuple[int, ...] = (16, 32, 80, 160)
    modules: tuple[int, ...] = (2, 4, 2)
    units: int = 2
    stem_width: int = 32
    size: Size = Size(256, 192)
    joints: int = 17

    def __post_init__(self) -> None:
        fields.check_settings(self, _LIMITS, "net.")
        for name in ("widths", "inner_widths", "modules"):
            fields.check_integers(getattr(self, name), f"net.{name}", low=1, high=WIDEST)
        if len(self.widths) != len(self.inner_widths) or len(self.widths) != len(self.modules) + 1:
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.inner_widths)} inner widths and modules"
                f" {self.modules}; expected as many inner widths as widths, and modules for two,"
                " three, ... of these branches"
            )
        if self.stem_width % 2:
            raise ValueError(f"net.stem_width is {self.stem_width}; expected an even number")
        if any(side % _COARSEST_STRIDE or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of {_COARSEST_STRIDE}; "
                "expected for example 128x96, 192x160, 256x192"
            )

    @property
    def task(self) -> Task:
        """The network's task."""
        return "pose"

    @property
    def stride(self) -> int:
        """Crop pixels per heatmap cell."""
        return 4


HR = HighResolutionSpec()
"""The accurate pose network of the family."""


def convolution(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False
) -> nn.Conv2d:
    """Return a convolution with bias and without batch norm, that keeps the size at stride 1."""
    return nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, groups=inputs if depthwise else 1
    )


def separable(inputs: int, outputs: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Return a 3x3 depthwise convolution, a 1x1 convolution and, if wanted, ReLU."""
    depthwise = convolution(inputs, inputs, kernel=3, stride=stride, depthwise=True)
    layers = [depthwise, convolution(inputs, outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class GatedUnit(nn.Module):
    """A residual unit whose skip connection has one weight per channel.

    ``relu(mix(depthwise(relu(expand(x)))) + gate * x)``. With gates of 0 and 1 it can represent a
    unit of ShuffleNetV2, which passes half of the channels on, without split, concatenation and
    shuffle: those only move memory.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.expand = convolution(width, inner)
        self.depthwise = convolution(inner, inner, kernel=3, depthwise=True)
        self.mix = convolution(inner, width)
        self.gate = nn.Conv2d(width, width, 1, groups=width, bias=False)
        nn.init.ones_(self.gate.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (n, width, h, w) for such maps."""
        hidden = self.depthwise(torch.relu(self.expand(maps)))
        return torch.relu(self.mix(hidden) + self.gate(maps))


class Stem(nn.Module):
    """Images to maps of stride 4, by two paths side by side, the second one wider."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(
            convolution(3, half, kernel=3, stride=2),
            nn.ReLU(inplace=True),
            *separable(half, half, stride=2),
        )
        self.right = nn.Sequential(
            convolution(3, half, kernel=3, stride=2),
            nn.ReLU(inplace=True),
            convolution(half, width),
            nn.ReLU(inplace=True),
            convolution(width, width, kernel=3, stride=2, depthwise=True),
            convolution(width, half),
            nn.ReLU(inplace=True),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (n, width, H/4, W/4) of normalized images (n, 3, H, W)."""
        return torch.cat([self.left(images), self.right(images)], dim=1)


class Exchange(nn.Module):
    """Units of each branch, then a sum of all branches' maps into each branch.

    Coarser maps are enlarged to the nearest, finer ones reduced by stride-2 convolutions. The
    finest branch is reduced from its new sum, before ReLU: so PP-TinyPose was trained.
    """

    def __init__(self, widths: Sequence[int], inner_widths: Sequence[int], units: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(GatedUnit(width, inner) for _ in range(units)))
            for width, inner in zip(widths, inner_widths, strict=True)
        )
        self.rows = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(source): _coarser(widths[source], widths[target], target - source)
                    if source < target
                    else convolution(widths[source], widths[target])
                    for source in range(len(widths))
                    if source != target
                }
            )
            for target in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the branches' new maps, finest first."""
        maps = [branch(features) for branch, features in zip(self.branches, maps, strict=True)]
        sums: list[Tensor] = []
        for target in range(len(maps)):
            total = maps[target]
            if target + 1 < len(maps):
                total = total + _doubled(self._from_coarser(target, maps))
            for source in range(target):
                total = total + self._layers(target, source)(
                    sums[0] if source == 0 else maps[source]
                )
            sums.append(total)
        return [torch.relu(total) for total in sums]

    def _layers(self, target: int, source: int) -> nn.Module:
        return self.rows[target][str(source)]  # pyright: ignore[reportIndexIssue]

    def _from_coarser(self, target: int, maps: list[Tensor]) -> Tensor:
        """Return what the coarser branches add to one, at half of its size.

        They are added from the coarsest on, each sum doubled once: large maps are added once.
        """
        coarsest = len(maps) - 1
        total = self._layers(target, coarsest)(maps[coarsest])
        for source in range(coarsest - 1, target, -1):
            total = self._layers(target, source)(maps[source]) + _doubled(total)
        return total


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2)


def _coarser(inputs: int, outputs: int, steps: int) -> nn.Sequential:
    """Return stride-2 separable convolutions; the last changes the width and has no ReLU."""
    between = [separable(inputs, inputs, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*between, separable(inputs, outputs, stride=2, relu=False))


class HighResolutionNet(nn.Module):
    """uint8 crops (n, H, W, 3) RGB to heatmaps (n, joints, H/4, W/4), peaks near 1.

    ``alignment`` is where the heatmaps' cells lay when the weights were trained.
    """

    def __init__(self, spec: HighResolutionSpec, alignment: CellAlignment = "centers") -> None:
        super().__init__()
        self.spec = spec
        self.alignment: CellAlignment = alignment
        widths = spec.widths
        self.stem = Stem(spec.stem_width)
        self.starts = nn.ModuleList(
            [
                separable(spec.stem_width, widths[0]),
                separable(spec.stem_width, widths[1], stride=2),
                *(
                    separable(finer, coarser, stride=2)
                    for finer, coarser in itertools.pairwise(widths[1:])
                ),
            ]
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Exchange(widths[:branches], spec.inner_widths[:branches], spec.units)
                for _ in range(modules)
            )
            for branches, modules in enumerate(spec.modules, start=2)
        )
        self.head = nn.ModuleList(
            separable(width, narrower)
            for width, narrower in zip(widths[::-1], (*widths[-2::-1], widths[0]), strict=True)
        )
        self.to_heatmaps = convolution(widths[0], spec.joints)
        self.normalized = ImageNetPixels()

    def forward(self, crops: Tensor, with_maps: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Return heatmaps; any input size that is a multiple of 32 works.

        With ``with_maps``, also return the maps after every exchange, finest first.
        """
        images = self.normalized(crops)
        exchanged: list[Tensor] = []
        features = self.features(images, exchanged.extend if with_maps else None)
        heatmaps = self.to_heatmaps(features)
        heatmaps = align_heatmaps(heatmaps, self.alignment, stride=self.spec.stride)
        return (heatmaps, *exchanged) if with_maps else heatmaps

    def stages_before(self, count: int) -> list[nn.Module]:
        """Return the stem, the convolutions behind it and ``count - 1`` stages, for freezing.

        Raises:
            ValueError: If there are fewer stages.
        """
        if not 1 <= count <= len(self.stages):
            raise ValueError(f"frozen_stages is {count}; expected 0 to {len(self.stages)}")
        return [self.stem, *list(self.starts)[: count + 1], *list(self.stages)[: count - 1]]

    def features(
        self, images: Tensor, on_maps: Callable[[list[Tensor]], None] | None = None
    ) -> Tensor:
        """Return the last maps (n, widths[0], H/4, W/4) of normalized images (n, 3, H, W).

        ``on_maps`` is called with the branches' maps after every exchange.
        """
        stem = self.stem(images)
        maps = [self.starts[0](stem), self.starts[1](stem)]
        for number, stage in enumerate(self.stages):
            if number:
                maps = [*maps, self.starts[number + 1](maps[-1])]
            for exchange in stage:  # pyright: ignore[reportGeneralTypeIssues]
                maps = exchange(maps)
                if on_maps is not None:
                    on_maps(maps)
        merged = self.head[0](maps[-1])
        for layers, finer in zip(list(self.head)[1:], maps[-2::-1], strict=True):
            enlarged = F.interpolate(merged, scale_factor=2, mode="bilinear", align_corners=True)
            merged = layers(finer + enlarged)
        return merged
