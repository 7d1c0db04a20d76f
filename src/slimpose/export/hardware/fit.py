"""The search for a net that fits a chip and a budget: widths and depths by arithmetic, only the winner is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from math import log

from slimpose.arrays import Size
from slimpose.export.hardware.arithmetic import layers_of_spec, macs_of_spec
from slimpose.export.hardware.check import check_layer
from slimpose.export.hardware.layers import Layer
from slimpose.export.hardware.target import Target
from slimpose.network.scaled import DESIGNS, blocks, stem_channels
from slimpose.network.spec import NetSpec

WIDTHS = tuple(percent / 100 for percent in range(50, 180, 5))
DEPTHS = tuple(tenths / 10 for tenths in range(5, 21))
NEAR = 0.03
"""Nets within 3 % of the multiply-adds asked for are compared; if none of them fits, the nearest that does is taken."""
_HEAD = 40
_DECONVOLUTIONS = (32, 32, 32)
_WIDER, _DEEPER = 1.1, 1.2
"""EfficientNet's compound scaling: each step that makes a net 1.1 times wider makes it 1.2 times deeper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A net that fits.

    Attributes:
        spec: The net.
        macs: True multiply-adds.
        inherited: Share of the parent's layers, in order from the pixels up to the first that
            differs, that it has with the same name, place and shape: as much of it can start from
            the parent's weights.
        imbalance: Steps between its width and its depth by EfficientNet's rule; 0 is balanced.
    """

    spec: NetSpec
    macs: int
    inherited: float
    imbalance: float


def fit(
    target: Target, *, gmac: float, parent: NetSpec, size: Size = Size(256, 192)
) -> list[Candidate]:
    """Return the nets without a finding near the multiply-adds asked for, best first.

    Every encoder design, at widths of 0.5 to 1.75 and depths of 0.5 to 2, ReLU, no
    squeeze-and-excite, no dilation, with the paper's decoder (head 40, deconvolutions 32), all
    channels in the multiple the target computes at a time.
    Best: most inherited from the parent; then most balanced; then nearest to ``gmac``.

    Args:
        target: The chip.
        gmac: 1e9 true multiply-adds to come near to.
        parent: The net whose weights training may start from.
        size: Input size.

    Raises:
        ValueError: If ``gmac`` is not positive.
        RuntimeError: If no net at all fits.
    """
    if not gmac > 0:
        raise ValueError(f"--gmac is {gmac:g}; expected 1e9 multiply-adds, for example 0.43")
    macs = {spec: macs_of_spec(spec) for spec in _specs(target, size=size)}
    by_distance = sorted(macs, key=lambda spec: abs(macs[spec] - gmac * 1e9))
    near = [spec for spec in by_distance if abs(macs[spec] - gmac * 1e9) <= NEAR * gmac * 1e9]
    found = [spec for spec in near if not has_finding(layers_of_spec(spec), target)]
    if not found:
        rest = (
            spec
            for spec in by_distance[len(near) :]
            if not has_finding(layers_of_spec(spec), target)
        )
        found = [spec for spec in (next(rest, None),) if spec is not None]
    if not found:
        raise RuntimeError(f"none of {len(macs)} nets fits {target.name} at {size}")
    inherited = parent_layers(dataclasses.replace(parent, size=size))
    candidates = [
        Candidate(
            spec=spec,
            macs=macs[spec],
            inherited=inherited_share(inherited, layers_of_spec(spec)),
            imbalance=abs(log(spec.width_multiplier, _WIDER) - log(spec.depth_multiplier, _DEEPER)),
        )
        for spec in found
    ]
    return sorted(
        candidates,
        key=lambda one: (-one.inherited, round(one.imbalance, 9), abs(one.macs - gmac * 1e9)),
    )


def has_finding(layers: list[Layer], target: Target) -> bool:
    """Return whether any layer leaves the chip or wastes it."""
    return any(check_layer(layer, target).findings for layer in layers)


def parent_layers(parent: NetSpec) -> list[Layer]:
    """Return the parent's layers with weights; none if its encoder is not one that can be scaled."""
    if parent.encoder not in DESIGNS:
        return []
    return _weighted(layers_of_spec(dataclasses.replace(parent, activation="relu", skip="none")))


def inherited_share(parent: list[Layer], layers: list[Layer]) -> float:
    """Return ``Candidate.inherited``."""
    same = {layer.name: layer for layer in _weighted(layers)}
    count = 0
    for layer in parent:
        twin = same.get(layer.name)
        if twin is None or _weights(twin) != _weights(layer):
            break
        count += 1
    return count / len(parent) if parent else 0.0


def _weighted(layers: list[Layer]) -> list[Layer]:
    return [layer for layer in layers if "in_channels" in layer.facts]


def _weights(layer: Layer) -> tuple[object, ...]:
    names = (
        "kernel_height",
        "kernel_width",
        "stride_height",
        "in_channels",
        "out_channels",
        "groups",
    )
    return (layer.kind, *(layer.facts[name] for name in names))


def _specs(target: Target, *, size: Size) -> Iterator[NetSpec]:
    """Every different net of the search, named by the least width and depth that give it."""
    multiple = int(target.parameters.get("channel_multiple", 8))
    multiple = multiple if multiple % 4 == 0 and multiple >= 8 else 8
    seen: set[tuple[object, ...]] = set()
    for encoder in DESIGNS:
        for width in WIDTHS:
            for depth in DEPTHS:
                spec = NetSpec(
                    encoder=encoder,
                    head_width=_nearest(_HEAD, multiple),
                    deconv_widths=tuple(
                        _nearest(channels, multiple) for channels in _DECONVOLUTIONS
                    ),
                    activation="relu",
                    squeeze_excite=False,
                    size=size,
                    width_multiplier=width,
                    depth_multiplier=depth,
                    round_to=multiple,
                )
                key = (stem_channels(spec), blocks(spec))
                if key not in seen:
                    seen.add(key)
                    yield spec


def _nearest(channels: int, multiple: int) -> int:
    return (channels + multiple // 2) // multiple * multiple
