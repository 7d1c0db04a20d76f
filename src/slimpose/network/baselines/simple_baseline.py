"""SimpleBaseline: a ResNet and three deconvolutions of 256 channels: a member of our family under its own name.

Source:
    Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section
    2.
"""

from __future__ import annotations

from slimpose.network.spec import NetSpec


def simple_baseline(depth: int) -> NetSpec:
    """Return the net with a ResNet of that depth: 50, 101 or 152 (strides in the 3x3 convolutions, as PyTorch has it).

    It has no head convolution: the first deconvolution takes all 2048 channels.
    """
    return NetSpec(encoder=f"resnet{depth}", head_width=0, deconv_widths=(256, 256, 256))
