"""What a network of the family is, as data: enough to build it again from a file's metadata."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from slimpose.arrays import Size
from slimpose.tasks import Task

Skip = Literal["none", "concat", "sum"]
Activation = Literal["as-trained", "relu", "relu6", "hard-swish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSpec:
    """One member of the family.

    Attributes:
        encoder: Name of any timm model with ``features_only``; those with TF "SAME" padding are
            named with ``pad_type``.
        head_width: Channels of the 1x1 convolution between encoder and deconvolutions; 0 for none.
        deconv_widths: Channels of each stride-2 deconvolution; their number and ``encoder_stride``
            give the output stride.
        skip: How encoder features of the same size join a deconvolution's output.
        encoder_stride: 32, or 16 to cut the encoder one stage earlier.
        activation: The encoder's activation, or ``as-trained`` to leave timm's; the decoder's is
            ReLU.
        squeeze_excite: False removes the encoder's squeeze-and-excite blocks.
        size: Input (height, width), multiples of ``encoder_stride``.
        joints: Heatmaps of a pose net.
        width_multiplier: Encoder width, for the encoders of ``slimpose.network.scaled``.
        depth_multiplier: Blocks of its stages but the first and the last, likewise.
        round_to: What its channels are a multiple of, likewise: as many as a chip computes at a
            time.
        inner_widths: Channels within each of the encoder's inverted residual blocks, from fine to
            coarse, where ``slimpose prune`` has left fewer than the encoder's own; the first
            block's are the stem's.
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
        if self.encoder_stride not in (16, 32):
            raise ValueError(f"encoder_stride is {self.encoder_stride}; expected 16 or 32")
        if any(side % self.encoder_stride or side <= 0 for side in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of the encoder's stride {self.encoder_stride}; "
                "expected for example 128x96, 192x160, 256x192"
            )
        if not self.deconv_widths or 2 ** len(self.deconv_widths) > self.encoder_stride:
            raise ValueError(
                f"{len(self.deconv_widths)} deconvolutions behind an encoder of stride "
                f"{self.encoder_stride}; expected 1 to {self.encoder_stride.bit_length() - 1}"
            )
        if self.round_to <= 0 or self.round_to % 4:
            raise ValueError(
                f"round_to is {self.round_to}; expected a multiple of 4, such as 8, 12 or 16 channels"
            )

    @property
    def task(self) -> Task:
        """What the net is for: without joints it is a person detector."""
        return "pose" if self.joints else "detect"

    @property
    def stride(self) -> int:
        """Crop pixels a heatmap cell."""
        return self.encoder_stride // 2 ** len(self.deconv_widths)

    @property
    def heatmap_size(self) -> Size:
        """Height and width of the output maps."""
        return Size(self.size.height // self.stride, self.size.width // self.stride)

    def at(self, size: Size) -> NetSpec:
        """Return the same net for another input size."""
        return dataclasses.replace(self, size=size)

    def to_json(self) -> str:
        """Return the spec as JSON, for a file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NetSpec:
        """Return the spec that ``to_json`` wrote.

        Raises:
            ValueError: If the text is not a spec's.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["size"] = Size(*fields["size"])
            fields["deconv_widths"] = tuple(fields["deconv_widths"])
            fields["inner_widths"] = tuple(fields.get("inner_widths", ()))
            return cls(**fields)
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"metadata does not describe a slimpose net: {error}") from error
