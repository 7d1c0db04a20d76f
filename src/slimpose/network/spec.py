"""Specification of a network of the family, stored in the metadata of weights and model files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from slimpose import fields
from slimpose.arrays import Size
from slimpose.network.sized_spec import SizedSpec
from slimpose.tasks import Task

Skip = Literal["none", "concat", "sum"]
Activation = Literal["as-trained", "relu", "relu6", "hard-swish"]

WIDEST = 65_536
"""The most channels of a layer; more are a mistake."""
_LIMITS: dict[str, tuple[float, float]] = {
    "head_width": (0, WIDEST),
    "joints": (0, WIDEST),
    "width_multiplier": (0.01, 100),
    "depth_multiplier": (0.01, 100),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSpec(SizedSpec):
    """Specification of a pose network or person detector.

    Attributes:
        encoder: Name of any timm model with ``features_only``.
        head_width: Channels of the 1x1 convolution between encoder and deconvolutions; 0 for no
            such convolution.
        deconv_widths: Channels of each stride-2 deconvolution; their number and
            ``encoder_stride`` determine the output stride.
        skip: How encoder features of the same size join a deconvolution's output.
        encoder_stride: 32, or 16 to end the encoder one stage earlier.
        activation: The encoder's activation, or ``as-trained`` to leave timm's; the decoder's is
            ReLU.
        squeeze_excite: False removes the encoder's squeeze-and-excite blocks.
        size: Input (height, width), multiples of ``encoder_stride``.
        joints: Heatmaps of a pose network; 0 for a person detector.
        width_multiplier: Encoder width, for the encoders of ``slimpose.network.scaled``.
        depth_multiplier: Encoder depth, likewise; not of the first and last stages.
        round_to: Encoder channels are multiples of this, likewise: as many as the hardware
            computes at a time.
        inner_widths: Hidden channels of each of the encoder's inverted residual blocks, from fine
            to coarse, after ``slimpose prune`` removed some; the first block's are the stem's.
    """

    encoder: str
    head_width: int = 40
    deconv_widths: tuple[int, ...] = (32, 32, 32)
    skip: Skip = "none"
    encoder_stride: int = 32
    activation: Activation = "as-trained"
    squeeze_excite: bool = True
    size: Size = Size(256, 192)
    joints: int = 17
    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    round_to: int = 8
    inner_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        fields.check_settings(self, _LIMITS, "net.")
        for name, known in (("skip", get_args(Skip)), ("activation", get_args(Activation))):
            if getattr(self, name) not in known:
                raise fields.fail(f"net.{name}", getattr(self, name), f"one of {', '.join(known)}")
        for name in ("deconv_widths", "inner_widths"):
            fields.check_integers(getattr(self, name), f"net.{name}", low=1, high=WIDEST)
        if self.encoder_stride not in (16, 32):
            raise ValueError(f"encoder_stride is {self.encoder_stride}; expected 16 or 32")
        if any(side % self.encoder_stride or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of the encoder's stride "
                f"{self.encoder_stride}; expected for example 128x96, 192x160, 256x192"
            )
        if not self.deconv_widths or 2 ** len(self.deconv_widths) > self.encoder_stride:
            raise ValueError(
                f"{len(self.deconv_widths)} deconvolutions after an encoder of stride "
                f"{self.encoder_stride}; expected 1 to {self.encoder_stride.bit_length() - 1}"
            )
        if self.round_to <= 0 or self.round_to % 4:
            raise ValueError(
                f"round_to is {self.round_to}; "
                "expected a multiple of 4, such as 8, 12 or 16 channels"
            )

    @property
    def task(self) -> Task:
        """The network's task: "pose", or "detect" without joints."""
        return "pose" if self.joints else "detect"

    @property
    def stride(self) -> int:
        """Crop pixels per heatmap cell."""
        return self.encoder_stride // 2 ** len(self.deconv_widths)
