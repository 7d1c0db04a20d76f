"""SimpleBaseline: a ResNet and three deconvolutions of 256 channels, as a ``NetSpec``.

Source:
    Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section
    2.
"""

from __future__ import annotations

from slimpose.network.spec import NetSpec


def simple_baseline(depth: int) -> NetSpec:
    """Return the spec with a ResNet of depth 50, 101 or 152.

    Strides are in the 3x3 convolutions, as in PyTorch. There is no head convolution: the first
    deconvolution takes all 2048 channels.
    """
    return NetSpec(encoder=f"resnet{depth}", head_width=0, deconv_widths=(256, 256, 256))
