"""Encoders: any timm ``features_only`` model, its last stages cut off where they are not used."""

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

from slimpose.network import scaled
from slimpose.network.narrowing import narrow
from slimpose.network.spec import NetSpec

_ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard-swish": nn.Hardswish}
_REPLACED = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
_NORMALISED_TO_ONE = ("mobilenetv2",)
"""Encoders started here from MoveNet's trunk read pixels as -1..1, whatever timm's own weights expect."""


class FrozenStem(NamedTuple):
    """Frozen first stages computed elsewhere: how many, and a function of ``Encoder.forward``'s images.

    It gives those of the encoder's maps that lie in them; last of all, in any case, what the next
    stage takes.
    """

    stages: int
    maps_of: Callable[[Tensor], list[Tensor]]


class Encoder(nn.Module):
    """Images to feature maps.

    Input: float (n, 3, H, W) RGB in 0..255; the normalization is inside.
    Output: the stride-4, 8, 16 (and 32) maps, finest first; ``channels`` tells their widths.
    """

    mean_pixel: Tensor
    std_pixel: Tensor

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        finest_to_coarsest = (1, 2, 3, 4) if spec.encoder_stride == 32 else (1, 2, 3)
        create = partial(timm.create_model, spec.encoder, features_only=True, pretrained=False)
        if scaled.is_scaled(spec):
            self.body = scaled.build(spec, out_indices=finest_to_coarsest)
        elif spec.encoder.startswith("mobilenetv2"):
            self.body = create(out_indices=finest_to_coarsest, pad_type="same")
        else:
            self.body = create(out_indices=finest_to_coarsest)
        maps = cast(FeatureInfo, self.body.feature_info)
        strides = tuple(maps.reduction())
        if strides[-1] != spec.encoder_stride:
            raise ValueError(
                f"encoder {spec.encoder!r} gives strides {strides}; expected the last to be {spec.encoder_stride}"
            )
        _drop_unused_stages(self.body, last_map=maps.module_name()[-1])
        self.channels: tuple[int, ...] = tuple(maps.channels())
        if not spec.squeeze_excite:
            _replace(self.body, (SqueezeExciteLayer, SqueezeExciteBlock), nn.Identity)
        if spec.inner_widths:
            narrow(self.body, spec.inner_widths)
        if spec.activation != "as-trained":
            _replace(self.body, _REPLACED, partial(_ACTIVATIONS[spec.activation], inplace=True))
        if spec.encoder.startswith(_NORMALISED_TO_ONE):
            mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        else:
            config = timm.get_pretrained_cfg(spec.encoder)
            mean, std = (
                (config.mean, config.std)
                if config
                else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            )
        self.map_ends = tuple(maps.module_name())
        self.frozen_stem: FrozenStem | None = None
        self.register_buffer(
            "mean_pixel", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std_pixel", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        if self.frozen_stem is None or not self.training:
            return self.body((images - self.mean_pixel) / self.std_pixel)
        maps = self.frozen_stem.maps_of(images)
        reached = maps[-1]
        if f"blocks.{self.frozen_stem.stages - 1}" not in self.map_ends:
            maps = maps[:-1]
        for number, stage in list(enumerate(cast(nn.Sequential, self.body.blocks)))[
            self.frozen_stem.stages :
        ]:
            reached = stage(reached)
            if f"blocks.{number}" in self.map_ends:
                maps.append(reached)
        return maps

    def stem_module(self, count: int) -> nn.Module:
        """Return the stem and the first ``count`` stages as a module of their own, for ``Front``.

        It takes pixels 0..255 as (n, H, W, 3) and returns those of the encoder's maps that it
        reaches; last of all, in any case, what the next stage takes.
        """
        return _FrontModule(self, count)

    def stages(self, count: int) -> list[nn.Module]:
        """Return the stem and the first ``count`` stages, for freezing; none for 0.

        Raises:
            ValueError: If the encoder has fewer, or is not built of stem and ``blocks``.
        """
        if not count:
            return []
        blocks = getattr(self.body, "blocks", None)
        if blocks is None or not 0 < count <= len(blocks):
            has = "no stages under that name" if blocks is None else f"{len(blocks)}"
            raise ValueError(f"frozen_stages is {count}; this encoder has {has}")
        return [
            self.body.get_submodule("conv_stem"),
            self.body.get_submodule("bn1"),
            *blocks[:count],
        ]


class _FrontModule(nn.Module):
    def __init__(self, encoder: Encoder, count: int) -> None:
        super().__init__()
        self._encoder, self._stages = encoder, encoder.stages(count)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        encoder = self._encoder
        reached = (pixels.permute(0, 3, 1, 2) - encoder.mean_pixel) / encoder.std_pixel
        stem, norm, *stages = self._stages
        reached = norm(stem(reached))
        maps: list[Tensor] = []
        for number, stage in enumerate(stages):
            reached = stage(reached)
            if f"blocks.{number}" in encoder.map_ends or number + 3 == len(self._stages):
                maps.append(reached)
        return maps


def _drop_unused_stages(body: nn.Module, *, last_map: str) -> None:
    """Cut off what lies behind the last map: timm keeps, and computes, EfficientNets' last stages."""
    stages, _, last = last_map.partition(".")
    if stages == "blocks" and last.isdecimal():
        body.blocks = cast(nn.Sequential, body.blocks)[: int(last) + 1]


def _replace(module: nn.Module, kinds: tuple[type, ...], make: type | partial[nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, kinds):
            setattr(module, name, make())
        else:
            _replace(child, kinds, make)
