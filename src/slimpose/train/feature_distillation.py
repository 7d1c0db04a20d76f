"""Feature distillation: a student learns its teacher's feature maps.

All that a network of the family knows about a person passes through its head's 40 channels.
Learning those is a dense regression, whereas heatmaps are zero nearly everywhere: a random head
soon predicts zeros for every crop, and stays there; so the student starts with the teacher's
decoder. A pruned network's maps between its blocks are as wide as the teacher's: then they are
learned too, each stage by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slimpose.network.high_resolution import HighResolutionNet
from slimpose.network.pose_net import PoseNet
from slimpose.train.inference import Compiled, compile_for_inference
from slimpose.train.processes import all_reduce_mean

_MIN_VARIANCE_SHARE = 0.01
"""Least normalizer of a channel's error, as a share of the channels' mean variance."""


FeatureNet = PoseNet | HighResolutionNet
"""Networks that return their feature maps."""


def prepare_student(teacher: FeatureNet, student: nn.Module) -> None:
    """Copy the teacher's layers after its head, if it has one, to the student.

    Raises:
        ValueError: If the student has another head or other deconvolutions, or either has skips
            around the head; for high-resolution networks, if the branches differ.
    """
    if isinstance(teacher, HighResolutionNet):
        inner_widths = teacher.spec.inner_widths
        spec = student.spec if isinstance(student, HighResolutionNet) else None
        if spec is None or dataclasses.replace(spec, inner_widths=inner_widths) != teacher.spec:
            raise ValueError(
                f"the teacher is {teacher.spec}, the student {spec or type(student).__name__};"
                " feature distillation needs the same network but for its inner widths"
            )
        return
    of_teacher, of_student = (_description(net) for net in (teacher, student))
    if of_teacher != of_student or teacher.spec.skip != "none" or not teacher.spec.head_width:
        raise ValueError(
            f"the student has {of_student}, its teacher {of_teacher}; feature distillation needs"
            " the same head and deconvolutions in both, and no skips around the head"
        )
    assert isinstance(student, PoseNet)
    student.decoder.deconvolutions.load_state_dict(teacher.decoder.deconvolutions.state_dict())
    student.to_heatmaps.load_state_dict(teacher.to_heatmaps.state_dict())


def compile_features(teacher: FeatureNet) -> Compiled:
    """Return the teacher as a NumPy function of uint8 crops (n, H, W, 3).

    Its outputs are heatmaps (n, J, h, w) and then the maps (n, channels, h, w): the encoder's,
    finest first, and the head's before their activation; or those after every exchange of a
    high-resolution network.
    """
    function, _ = compile_for_inference(_WithFeatures(teacher))
    return function


class _WithFeatures(nn.Module):
    """A pose network whose outputs are heatmaps and features."""

    def __init__(self, net: FeatureNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return heatmaps and features."""
        return self.net(crops, with_maps=True)


def feature_loss(predicted: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the mean squared error of maps (n, channels, h, w) in units of channel variance.

    Maps that differ in shape between the networks are left out. Predicting each channel's mean
    everywhere costs 1.
    """
    errors: list[Tensor] = []
    for student, teacher in zip(predicted, target, strict=True):
        if student.shape != teacher.shape:
            continue
        mean = all_reduce_mean(teacher.mean(dim=(0, 2, 3), keepdim=True))
        variance = all_reduce_mean(((teacher - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True))
        least = _MIN_VARIANCE_SHARE * float(variance.mean())
        errors.append(((student - teacher) ** 2 / variance.clamp_min(least)).mean())
    return torch.stack(errors).mean()


def _description(net: nn.Module) -> str:
    if not isinstance(net, PoseNet):
        return "no head"
    spec, widths = net.spec, "-".join(map(str, net.spec.deconv_widths))
    return (
        f"a head of {spec.head_width}, deconvolutions {widths}, skips {spec.skip},"
        f" {spec.joints} joints at {net.alignment}, stride {spec.stride}"
    )
