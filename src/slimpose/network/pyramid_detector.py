"""The pyramid person detector: four scales of cells, from a light trunk and two-way feature fusion.

Source:
    Yu et al., "PP-PicoDet: A Better Real-Time Object Detector on Mobile Devices", arXiv:2111.00902;
    Cui et al., "PP-LCNet", arXiv:2109.15099 (trunk); Li et al., "Generalized Focal Loss", NeurIPS
    2020 (box edges as distributions). With one class, people; ``network/published/picodet.py``
    reads the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose import fields
from slimpose.arrays import Size
from slimpose.geometry import CanvasFit
from slimpose.network.cells import Cells, grid_cells
from slimpose.network.imagenet_pixels import ImageNetPixels
from slimpose.network.sized_spec import SizedSpec
from slimpose.network.spec import WIDEST
from slimpose.tasks import Task

STRIDES = (8, 16, 32, 64)
_MIN_COMPLEMENT = 1e-6
_NARROWEST = 4
"""Squeeze-and-excite has a quarter of the channels."""
_LIMITS: dict[str, tuple[float, float]] = {
    "neck_width": (_NARROWEST, WIDEST),
    "bins": (2, 1024),
    "joints": (0, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidSpec(SizedSpec):
    """Specification of a pyramid detector, stored in the metadata of files.

    Attributes:
        architecture: Distinguishes it from other specs.
        widths: Channels of the trunk's stages, from stride 2 to stride 32; two at stride 2.
        depths: Blocks of the trunk's stages of stride 4 to 32.
        neck_width: Channels of the neck and the heads.
        bins: Distances of a box edge, in cells, that a head weighs: 0 to bins - 1.
        size: Input (height, width), multiples of 32.
        joints: 0: it detects people.
    """

    architecture: Literal["pyramid-detector"] = "pyramid-detector"
    widths: tuple[int, ...] = (16, 24, 48, 96, 192, 384)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    neck_width: int = 96
    bins: int = 8
    size: Size = Size(320, 320)
    joints: int = 0

    def __post_init__(self) -> None:
        fields.check_settings(self, _LIMITS, "net.")
        for name, low in (("widths", _NARROWEST), ("depths", 1)):
            fields.check_integers(getattr(self, name), f"net.{name}", low=low, high=WIDEST)
        if len(self.widths) != len(self.depths) + 2:
            raise ValueError(
                f"{len(self.widths)} widths and {len(self.depths)} depths; expected two widths more"
            )
        if any(side % 32 or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of 32; expected for example 320x320"
            )

    @property
    def task(self) -> Task:
        """The network's task."""
        return "detect"

    @property
    def fit(self) -> CanvasFit:
        """How an image fills the input."""
        return "stretch"

    @property
    def stride(self) -> int:
        """Input pixels per cell of the finest map."""
        return STRIDES[0]


PYRAMID = PyramidSpec()
"""The person detector of the family."""


def conv_swish(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False
) -> nn.Sequential:
    """Return a convolution with bias and a hard swish."""
    groups = inputs if depthwise else 1
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(convolution, nn.Hardswish(inplace=True))


class SqueezeExcite(nn.Module):
    """Scale each channel by a function of all channels' means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // 4, 1)
        self.excite = nn.Conv2d(width // 4, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the scaled maps (n, width, h, w)."""
        hidden = torch.relu(self.squeeze(maps.mean((2, 3), keepdim=True)))
        return maps * F.hardsigmoid(self.excite(hidden))


class Separable(nn.Module):
    """A depthwise and a 1x1 convolution, each with a hard swish, perhaps squeeze-and-excite."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 5, stride: int = 1, excite: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = conv_swish(inputs, inputs, kernel=kernel, stride=stride, depthwise=True)
        self.excite = SqueezeExcite(inputs) if excite else nn.Identity()
        self.pointwise = conv_swish(inputs, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (n, outputs, h, w)."""
        return self.pointwise(self.excite(self.depthwise(maps)))


class Trunk(nn.Module):
    """Images to maps of stride 8, 16 and 32."""

    def __init__(self, spec: PyramidSpec) -> None:
        super().__init__()
        first, *widths = spec.widths
        self.first = conv_swish(3, first, kernel=3, stride=2)
        self.stages = nn.ModuleList([Separable(first, widths[0], kernel=3)])
        for number, depth in enumerate(spec.depths):
            is_last = number == len(spec.depths) - 1
            self.stages.append(
                _stage(
                    widths[number],
                    widths[number + 1],
                    depth,
                    kernels=(5 if is_last else 3, 5 if number >= len(spec.depths) - 2 else 3),
                    excite=is_last,
                )
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of normalized images (n, 3, H, W), finest first."""
        features = self.first(images)
        maps: list[Tensor] = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps[-3:]


def _stage(
    inputs: int, outputs: int, depth: int, *, kernels: tuple[int, int], excite: bool
) -> nn.Sequential:
    """Return blocks, the first of stride 2; ``kernels`` are the first's and the others'."""
    first = Separable(inputs, outputs, kernel=kernels[0], stride=2, excite=excite)
    others = (
        Separable(outputs, outputs, kernel=kernels[1], excite=excite) for _ in range(depth - 1)
    )
    return nn.Sequential(first, *others)


class Neck(nn.Module):
    """Maps of three strides to four of equal width, exchanged from coarse to fine and back."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_swish(inputs, width) for inputs in widths)
        self.top_down = nn.ModuleList(_pair(2 * width, width) for _ in range(2))
        self.reduce = nn.ModuleList(Separable(width, width, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(_pair(2 * width, width) for _ in range(2))
        self.coarsest = nn.ModuleList(Separable(width, width, stride=2) for _ in range(2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of stride 8, 16, 32 and 64."""
        fine, middle, coarse = (layer(m) for layer, m in zip(self.lateral, maps, strict=True))
        merged = self.top_down[0](torch.cat([_twice(coarse), middle], dim=1))
        fine = self.top_down[1](torch.cat([_twice(merged), fine], dim=1))
        middle = self.bottom_up[0](torch.cat([self.reduce[0](fine), merged], dim=1))
        last = self.bottom_up[1](torch.cat([self.reduce[1](middle), coarse], dim=1))
        return [fine, middle, last, self.coarsest[0](coarse) + self.coarsest[1](last)]


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Separable(inputs, inputs), Separable(inputs, outputs))


def _twice(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2)


class Head(nn.Module):
    """Maps of one scale to scores and edge distributions of its cells."""

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.towers = nn.Sequential(Separable(width, width), Separable(width, width))
        self.excite = nn.Conv2d(width, width, 1)
        self.mix = conv_swish(width, width)
        self.aligned = nn.Sequential(conv_swish(width, 1, kernel=5), nn.Conv2d(1, 1, 1))
        self.score = nn.Conv2d(width, 1, 1)
        self.edges = nn.Conv2d(width, 4 * bins, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, cells) and edges (n, 4 * bins, cells).

        The score is the geometric mean of the class probability and of one that says how well the
        box is placed.
        """
        maps = self.towers(maps)
        mixed = self.mix(maps * torch.sigmoid(self.excite(maps.mean((2, 3), keepdim=True))))
        logs = F.logsigmoid(self.score(mixed)) + F.logsigmoid(self.aligned(maps))
        log_score = logs.flatten(1) / 2
        logits = log_score - torch.log((1 - log_score.exp()).clamp_min(_MIN_COMPLEMENT))
        return logits, self.edges(mixed).flatten(2)


class PyramidDetector(nn.Module):
    """uint8 images (n, H, W, 3) RGB to person logits (n, cells) and boxes (n, cells, 4)."""

    def __init__(self, spec: PyramidSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = Trunk(spec)
        self.neck = Neck(spec.widths[-3:], spec.neck_width)
        self.heads = nn.ModuleList(Head(spec.neck_width, spec.bins) for _ in STRIDES)
        self.normalized = ImageNetPixels()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and boxes (x1, y1, x2, y2 in pixel centers) of all cells."""
        maps = self.neck(self.trunk(self.normalized(images)))
        heads = [head(features) for head, features in zip(self.heads, maps, strict=True)]
        logits = torch.cat([logits for logits, _ in heads], dim=1)
        edges = torch.cat([edges for _, edges in heads], dim=2)
        weights = edges.unflatten(1, (4, self.spec.bins)).softmax(dim=2)
        steps = torch.arange(self.spec.bins, dtype=weights.dtype, device=weights.device)
        centers, strides = self.cells(Size(*images.shape[1:3]), images.device)
        distances = (weights * steps[:, None]).sum(2).transpose(1, 2) * strides[:, None]
        return logits, torch.cat(
            [centers - distances[..., :2], centers + distances[..., 2:]], dim=2
        )

    def stages_before(self, count: int) -> list[nn.Module]:
        """Return the trunk's first convolution and its first ``count`` stages, for freezing.

        Raises:
            ValueError: If there are fewer stages.
        """
        stages = list(self.trunk.stages)
        if not 1 <= count <= len(stages):
            raise ValueError(f"frozen_stages is {count}; expected 0 to {len(stages)}")
        return [self.trunk.first, *stages[:count]]

    def cells(self, size: Size, device: torch.device) -> Cells:
        """Return the cells for an input size."""
        return grid_cells(size, STRIDES, device)
