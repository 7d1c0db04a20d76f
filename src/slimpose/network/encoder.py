"""Encoders: any timm ``features_only`` model, without the last stages that are not used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import timm
import torch
from timm.layers.squeeze_excite import SqueezeExcite as SqueezeExciteLayer
from timm.models._efficientnet_blocks import SqueezeExcite as SqueezeExciteBlock
from timm.models._features import FeatureInfo
from torch import Tensor, nn

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD
from slimpose.messages import quoted
from slimpose.network import scaled
from slimpose.network.narrowing import narrow
from slimpose.network.spec import NetSpec

_ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard-swish": nn.Hardswish}
_REPLACED = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
_SYMMETRIC_INPUT = ("mobilenetv2",)
"""Encoders that read pixels as -1..1, as MoveNet's trunk does, whatever timm's weights expect."""


class FrozenStem(NamedTuple):
    """The frozen first stages of an encoder, computed by another runtime.

    Attributes:
        stages: How many there are.
        maps_of: Takes the images of ``Encoder.forward``; returns the encoder's maps within these
            stages. The last is the last stage's output, even if the encoder does not return it.
    """

    stages: int
    maps_of: Callable[[Tensor], list[Tensor]]


class Encoder(nn.Module):
    """Images to feature maps.

    Input: float (n, 3, H, W) RGB in 0..255; the normalization is inside.
    Output: the stride-4, 8, 16 (and 32) maps, finest first; ``channels`` are their widths.
    """

    mean_pixel: Tensor
    std_pixel: Tensor

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.body = _create_body(spec)
        maps = cast(FeatureInfo, self.body.feature_info)
        strides = tuple(maps.reduction())
        if strides[-1] != spec.encoder_stride:
            raise ValueError(
                f"encoder {spec.encoder!r} has strides {strides}; "
                f"expected the last to be {spec.encoder_stride}"
            )
        _drop_unused_stages(self.body, last_map=maps.module_name()[-1])
        self.channels: tuple[int, ...] = tuple(maps.channels())
        if not spec.squeeze_excite:
            _replace(self.body, (SqueezeExciteLayer, SqueezeExciteBlock), nn.Identity)
        if spec.inner_widths:
            narrow(self.body, spec.inner_widths)
        if spec.activation != "as-trained":
            _replace(self.body, _REPLACED, partial(_ACTIVATIONS[spec.activation], inplace=True))
        self.map_modules = tuple(maps.module_name())
        self.frozen_stem: FrozenStem | None = None
        for name, values in zip(("mean_pixel", "std_pixel"), _normalization(spec), strict=True):
            pixel = 255 * torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, pixel, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        if self.frozen_stem is None or not self.training:
            return self.body((images - self.mean_pixel) / self.std_pixel)
        count = self.frozen_stem.stages
        maps = self.frozen_stem.maps_of(images)
        features = maps[-1]
        if f"blocks.{count - 1}" not in self.map_modules:
            maps = maps[:-1]
        for number, stage in list(enumerate(cast(nn.Sequential, self.body.blocks)))[count:]:
            features = stage(features)
            if f"blocks.{number}" in self.map_modules:
                maps.append(features)
        return maps

    def stages(self, count: int) -> list[nn.Module]:
        """Return the stem and the first ``count`` stages, for freezing; an empty list for 0.

        Raises:
            ValueError: If the encoder has fewer stages, or no stem and ``blocks``.
        """
        if not count:
            return []
        blocks = getattr(self.body, "blocks", None)
        if blocks is None or not 0 < count <= len(blocks):
            available = "no stages named blocks" if blocks is None else f"{len(blocks)}"
            raise ValueError(f"frozen_stages is {count}; this encoder has {available}")
        return [
            self.body.get_submodule("conv_stem"),
            self.body.get_submodule("bn1"),
            *blocks[:count],
        ]


class StemModule(nn.Module):
    """The stem and the first ``count`` stages of an encoder as a module, for ``FrozenStem``."""

    def __init__(self, encoder: Encoder, count: int) -> None:
        super().__init__()
        self._encoder, self._stages = encoder, encoder.stages(count)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return what ``FrozenStem.maps_of`` does, from pixels 0..255 as (n, H, W, 3)."""
        encoder = self._encoder
        features = (pixels.permute(0, 3, 1, 2) - encoder.mean_pixel) / encoder.std_pixel
        stem, norm, *stages = self._stages
        features = norm(stem(features))
        maps: list[Tensor] = []
        for number, stage in enumerate(stages):
            features = stage(features)
            if f"blocks.{number}" in encoder.map_modules or number == len(stages) - 1:
                maps.append(features)
        return maps


def _create_body(spec: NetSpec) -> nn.Module:
    out_indices = (1, 2, 3, 4) if spec.encoder_stride == 32 else (1, 2, 3)
    if scaled.is_scaled(spec):
        return scaled.build(spec, out_indices=out_indices)
    create = partial(timm.create_model, spec.encoder, features_only=True, pretrained=False)
    if spec.encoder.startswith("mobilenetv2"):
        create = partial(create, pad_type="same")
    try:
        return create(out_indices=out_indices)
    except RuntimeError as error:
        raise ValueError(
            f"net.encoder is {quoted(spec.encoder)}; expected the name of a timm model with "
            f"features_only ({error})"
        ) from error


def _normalization(spec: NetSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the pixels, in 0..1."""
    if spec.encoder.startswith(_SYMMETRIC_INPUT):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    config = timm.get_pretrained_cfg(spec.encoder)
    return (config.mean, config.std) if config else (IMAGENET_MEAN, IMAGENET_STD)


def _drop_unused_stages(body: nn.Module, *, last_map: str) -> None:
    """Remove the stages after the last map: timm keeps and computes EfficientNets' last stages."""
    stages, _, last = last_map.partition(".")
    if stages == "blocks" and last.isdecimal():
        body.blocks = cast(nn.Sequential, body.blocks)[: int(last) + 1]


def _replace(module: nn.Module, kinds: tuple[type, ...], make: type | partial[nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, kinds):
            setattr(module, name, make())
        else:
            _replace(child, kinds, make)
