"""Imitation: a student's narrow head learns the teacher's maps, and begins with what the teacher has behind them.

All that a net of the family knows about a person passes its head's 40 channels. Learning those is a
dense regression, where heatmaps are zero nearly everywhere: a random head soon says "nobody" to
every crop, and stays there. Of a pruned net the maps between its blocks are as wide as the
teacher's: then they are learned too, each stage by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slimpose.network.pose_net import PoseNet
from slimpose.train.inference import Compiled, compute_with_openvino
from slimpose.train.processes import mean_of_all

_LEAST_SPREAD = 0.01
"""Of the channels' mean variance: what a channel that hardly varies is measured by."""


def copy_decoder(teacher: PoseNet, student: nn.Module) -> None:
    """Give the student what the teacher has behind its head.

    Raises:
        ValueError: If the student has another head or other deconvolutions, or either has skips
            around the head.
    """
    ours, theirs = (_narrow_part(net) for net in (teacher, student))
    if ours != theirs or teacher.spec.skip != "none" or not teacher.spec.head_width:
        raise ValueError(
            f"the student has {theirs}, its teacher {ours}; to be imitated, head and deconvolutions must be the "
            "same in both, with no skips around the head"
        )
    assert isinstance(student, PoseNet)
    student.decoder.deconvolutions.load_state_dict(teacher.decoder.deconvolutions.state_dict())
    student.to_heatmaps.load_state_dict(teacher.to_heatmaps.state_dict())


def features_with(teacher: PoseNet) -> Compiled:
    """Return the teacher as a NumPy function of uint8 crops (n, H, W, 3).

    It gives heatmaps (n, J, h, w), the encoder's maps (n, channels, h, w), finest first, and the
    head's before their activation.
    """
    maps_of, _ = compute_with_openvino(_WithMaps(teacher))
    return maps_of


class _WithMaps(nn.Module):
    """A pose net that gives heatmaps and what they come from."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return all."""
        return self.net(crops, with_maps=True)


def feature_loss(predicted: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the mean squared error of maps (n, channels, h, w) in units of each channel's variance; the maps' mean.

    Maps that are of other shapes in both nets are left out. A net that gives each channel's mean
    everywhere costs 1.
    """
    alike = [
        (mine, theirs)
        for mine, theirs in zip(predicted, target, strict=True)
        if mine.shape == theirs.shape
    ]
    return torch.stack([_error(mine, theirs) for mine, theirs in alike]).mean()


def _error(predicted: Tensor, target: Tensor) -> Tensor:
    middle = mean_of_all(target.mean(dim=(0, 2, 3), keepdim=True))
    spread = mean_of_all(((target - middle) ** 2).mean(dim=(0, 2, 3), keepdim=True))
    return (
        (predicted - target) ** 2 / spread.clamp_min(_LEAST_SPREAD * float(spread.mean()))
    ).mean()


def _narrow_part(net: nn.Module) -> str:
    if not isinstance(net, PoseNet):
        return "no head"
    spec, widths = net.spec, "-".join(map(str, net.spec.deconv_widths))
    told = f"a head of {spec.head_width}, deconvolutions {widths}, skips {spec.skip}, {spec.joints} joints"
    return f"{told} at {net.alignment}, stride {spec.stride}"
