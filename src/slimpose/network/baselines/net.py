"""The compared architectures by name: their specs, and networks with the inputs of ``PoseNet``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.geometry import CellAlignment
from slimpose.network.alignment import align_heatmaps
from slimpose.network.baselines.efficient_pose import EfficientPose
from slimpose.network.baselines.hourglass import StackedHourglass
from slimpose.network.baselines.hrnet import Hrnet
from slimpose.network.baselines.lightweight_openpose import LightweightOpenPose
from slimpose.network.baselines.lpn import Lpn
from slimpose.network.imagenet_pixels import ImageNetPixels
from slimpose.network.sized_spec import SizedSpec
from slimpose.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An architecture to compare with.

    Attributes:
        make: Returns the network for a number of heatmaps.
        coarsest: Coarsest stride; input sides are multiples of it.
        stride: Input pixels per heatmap cell.
        task: "pose", in crops, or "bottom-up".
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
"""Without SimpleBaseline, which is a ``NetSpec``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSpec(SizedSpec):
    """Specification of a compared network, stored in the metadata of files.

    Attributes:
        baseline: Name in ``ARCHITECTURES``.
        size: Input (height, width).
        joints: Number of heatmaps.
    """

    baseline: str
    size: Size = Size(256, 192)
    joints: int = 17

    def __post_init__(self) -> None:
        if self.baseline not in ARCHITECTURES:
            raise ValueError(
                f"no baseline is named {self.baseline!r}; "
                f"expected one of {', '.join(ARCHITECTURES)}"
            )
        if self.joints < 1:
            raise ValueError(f"{self.baseline} has {self.joints} joints; expected at least 1")
        coarsest = ARCHITECTURES[self.baseline].coarsest
        if any(side % coarsest or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of {coarsest}, the coarsest stride of "
                f"{self.baseline}; expected for example 256x192"
            )

    @property
    def stride(self) -> int:
        """Crop pixels per heatmap cell."""
        return ARCHITECTURES[self.baseline].stride

    @property
    def task(self) -> Task:
        """The network's task."""
        return ARCHITECTURES[self.baseline].task


class BaselineNet(nn.Module):
    """uint8 crops (n, H, W, 3) RGB to heatmaps (n, joints, H/stride, W/stride).

    ``alignment`` is where the heatmaps' cells lay when the weights were trained; ``centers`` if
    slimpose trained them.
    """

    def __init__(self, spec: BaselineSpec, alignment: CellAlignment = "centers") -> None:
        super().__init__()
        self.spec = spec
        self.alignment: CellAlignment = alignment
        self.body = ARCHITECTURES[spec.baseline].make(spec.joints)
        self.normalized = ImageNetPixels()

    def forward(self, crops: Tensor) -> Tensor:
        """Return heatmaps; any input size that is a multiple of the coarsest stride works."""
        heatmaps = self.body(self.normalized(crops))
        return align_heatmaps(heatmaps, self.alignment, stride=self.spec.stride)


class PartAffinityNet(nn.Module):
    """An exported bottom-up network: uint8 images (n, H, W, 3) to heatmaps and part affinities.

    Raises:
        ValueError: If the network is not lightweight-openpose.
    """

    def __init__(self, net: BaselineNet) -> None:
        super().__init__()
        if not isinstance(net.body, LightweightOpenPose):
            raise ValueError(
                f"{net.spec.baseline} is not a bottom-up network; expected lightweight-openpose"
            )
        self.net = net
        self.parts = net.body.parts

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmaps (n, joints, h, w) and affinities (n, 2 * limbs, h, w)."""
        heatmaps, affinities = self.parts(self.net.normalized(images))
        return heatmaps[:, :-1], affinities
