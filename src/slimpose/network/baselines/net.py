"""The compared architectures by name, as data and as nets that take the same crops as ``PoseNet``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD, Size
from slimpose.geometry import CellAlignment
from slimpose.network.alignment import align_heatmaps
from slimpose.network.baselines.efficient_pose import EfficientPose
from slimpose.network.baselines.hourglass import StackedHourglass
from slimpose.network.baselines.hrnet import Hrnet
from slimpose.network.baselines.lightweight_openpose import LightweightOpenPose
from slimpose.network.baselines.lpn import Lpn
from slimpose.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A compared net.

    Attributes:
        make: The net with that many heatmaps.
        coarsest: Input sides are multiples of this.
        stride: Input pixels a heatmap cell.
        task: What it is for: "pose" in crops, or "bottom-up".
    """

    make: Callable[[int], nn.Module]
    coarsest: int
    stride: int = 4
    task: Task = "pose"


ARCHITECTURES: dict[str, Architecture] = {
    "hrnet-w32": Architecture(make=partial(Hrnet, 32), coarsest=32),
    "hrnet-w48": Architecture(make=partial(Hrnet, 48), coarsest=32),
    "hourglass-8": Architecture(make=partial(StackedHourglass, 8), coarsest=64),
    "lpn-50": Architecture(make=partial(Lpn, 50), coarsest=16),
    "lpn-101": Architecture(make=partial(Lpn, 101), coarsest=16),
    "lpn-152": Architecture(make=partial(Lpn, 152), coarsest=16),
    "efficientpose-a": Architecture(make=partial(EfficientPose, "a"), coarsest=16),
    "efficientpose-b": Architecture(make=partial(EfficientPose, "b"), coarsest=16),
    "efficientpose-c": Architecture(make=partial(EfficientPose, "c"), coarsest=16),
    "lightweight-openpose": Architecture(
        make=LightweightOpenPose, coarsest=8, stride=8, task="bottom-up"
    ),
}
"""SimpleBaseline is not among them: it is a ``NetSpec``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSpec:
    """A compared net as data: enough to build it again from a file's metadata.

    Attributes:
        baseline: Its name in ``ARCHITECTURES``.
        size: Input (height, width).
        joints: Heatmaps.
    """

    baseline: str
    size: Size = Size(256, 192)
    joints: int = 17

    def __post_init__(self) -> None:
        if self.baseline not in ARCHITECTURES:
            raise ValueError(
                f"no baseline is named {self.baseline!r}; expected one of {', '.join(ARCHITECTURES)}"
            )
        if self.joints < 1:
            raise ValueError(f"{self.baseline} has {self.joints} joints; expected at least 1")
        coarsest = ARCHITECTURES[self.baseline].coarsest
        if any(side % coarsest or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of {coarsest}, the coarsest stride of {self.baseline}; "
                "expected for example 256x192"
            )

    @property
    def stride(self) -> int:
        """Crop pixels a heatmap cell."""
        return ARCHITECTURES[self.baseline].stride

    @property
    def task(self) -> Task:
        """What the net is for."""
        return ARCHITECTURES[self.baseline].task

    @property
    def heatmap_size(self) -> Size:
        """Height and width of the output maps."""
        return Size(self.size.height // self.stride, self.size.width // self.stride)

    def at(self, size: Size) -> BaselineSpec:
        """Return the same net for another input size."""
        return dataclasses.replace(self, size=size)

    def to_json(self) -> str:
        """Return the spec as JSON, for a file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BaselineSpec:
        """Return the spec that ``to_json`` wrote.

        Raises:
            ValueError: If the text is not a spec's.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["size"] = Size(*fields["size"])
            return cls(**fields)
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"metadata does not describe a slimpose net: {error}") from error


class BaselineNet(nn.Module):
    """uint8 crops (n, H, W, 3) RGB to heatmaps (n, joints, H/stride, W/stride), cells where ours are.

    Args:
        spec: Which.
        alignment: Where the architecture's own cells lie: ``centers`` if it is trained here.
    """

    mean_pixel: Tensor
    std_pixel: Tensor

    def __init__(self, spec: BaselineSpec, alignment: CellAlignment = "centers") -> None:
        super().__init__()
        self.spec = spec
        self.alignment: CellAlignment = alignment
        self.body = ARCHITECTURES[spec.baseline].make(spec.joints)
        self.register_buffer(
            "mean_pixel", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std_pixel", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False
        )

    def normalized(self, crops: Tensor) -> Tensor:
        """Return what the body takes: (n, 3, H, W), ImageNet's mean 0 and deviation 1."""
        return (crops.float().permute(0, 3, 1, 2) - self.mean_pixel) / self.std_pixel

    def forward(self, crops: Tensor) -> Tensor:
        """Return heatmaps; any input size that is a multiple of the coarsest stride is taken."""
        return align_heatmaps(
            self.body(self.normalized(crops)), self.alignment, stride=self.spec.stride
        )


class PartAffinityNet(nn.Module):
    """A bottom-up net as it is exported: uint8 images (n, H, W, 3) to the maps that people are made of.

    Args:
        net: Of ``lightweight-openpose``.

    Raises:
        ValueError: If it is another architecture.
    """

    def __init__(self, net: BaselineNet) -> None:
        super().__init__()
        if not isinstance(net.body, LightweightOpenPose):
            raise ValueError(
                f"{net.spec.baseline} is no bottom-up net; expected lightweight-openpose"
            )
        self.net = net
        self.parts = net.body.parts

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmaps (n, joints, h, w) and affinities (n, 2 * limbs, h, w)."""
        heatmaps, affinities = self.parts(self.net.normalized(images))
        return heatmaps[:, :-1], affinities
