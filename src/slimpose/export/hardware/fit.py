"""The search for a network that a hardware target computes completely, for a given cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
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
MACS_TOLERANCE = 0.03
"""Networks within 3 % of the requested multiply-adds are compared; if none of them fits, the
nearest one that does is taken."""
_HEAD = 40
_DECONVOLUTION = 32
_WIDER, _DEEPER = 1.1, 1.2
"""EfficientNet's compound scaling: 1.1 times wider goes with 1.2 times deeper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network that fits.

    Attributes:
        spec: The network.
        macs: True multiply-adds.
        inherited: Share of the parent's layers, from the pixels up to the first difference, that it
            has under the same name and with the same shape: these can start from the parent's
            weights.
        imbalance: Scaling steps between its width and its depth by EfficientNet's rule; 0 is
            balanced.
    """

    spec: NetSpec
    macs: int
    inherited: float
    imbalance: float


def fit(
    target: Target, *, gmac: float, parent: NetSpec, size: Size = Size(256, 192)
) -> list[Candidate]:
    """Return the networks without a finding near the requested multiply-adds, best first.

    Candidates: every encoder design at widths of 0.5 to 1.75 and depths of 0.5 to 2, with ReLU, no
    squeeze-and-excite, no dilation, the paper's decoder (head 40, deconvolutions 32), and channels
    in multiples of what the target computes at once.
    Order: most inherited from the parent, whose weights training may start from; then most
    balanced; then nearest to ``gmac``, true multiply-adds in 1e9.

    Raises:
        ValueError: If ``gmac`` is not positive.
        RuntimeError: If no network fits.
    """
    if not gmac > 0:
        raise ValueError(f"--gmac is {gmac:g}; expected 1e9 multiply-adds, for example 0.43")
    macs = {spec: macs_of_spec(spec) for spec in _specs(target, size=size)}
    distance = {spec: abs(count - gmac * 1e9) for spec, count in macs.items()}
    by_distance = sorted(macs, key=lambda spec: distance[spec])
    near = [spec for spec in by_distance if distance[spec] <= MACS_TOLERANCE * gmac * 1e9]
    fitting = [spec for spec in near if not has_finding(layers_of_spec(spec), target)]
    if not fitting:
        others = by_distance[len(near) :]
        fits = (spec for spec in others if not has_finding(layers_of_spec(spec), target))
        fitting = list(islice(fits, 1))
    if not fitting:
        raise RuntimeError(f"none of {len(macs)} networks fits {target.name} at {size}")
    weights = parent_layers(dataclasses.replace(parent, size=size))
    candidates = [
        Candidate(
            spec=spec,
            macs=macs[spec],
            inherited=inherited_share(weights, layers_of_spec(spec)),
            imbalance=abs(log(spec.width_multiplier, _WIDER) - log(spec.depth_multiplier, _DEEPER)),
        )
        for spec in fitting
    ]
    return sorted(
        candidates,
        key=lambda found: (-found.inherited, round(found.imbalance, 9), distance[found.spec]),
    )


def has_finding(layers: list[Layer], target: Target) -> bool:
    """Return whether any layer breaks a rule of the target, advice included."""
    return any(check_layer(layer, target).findings for layer in layers)


def parent_layers(parent: NetSpec) -> list[Layer]:
    """Return the parent's layers with weights; empty if its encoder cannot be scaled."""
    if parent.encoder not in DESIGNS:
        return []
    return _weighted(layers_of_spec(dataclasses.replace(parent, activation="relu", skip="none")))


def inherited_share(parent: list[Layer], layers: list[Layer]) -> float:
    """Return the share of the parent's layers that a network inherits; see ``Candidate``."""
    by_name = {layer.name: layer for layer in _weighted(layers)}
    count = 0
    for layer in parent:
        match = by_name.get(layer.name)
        if match is None or _weight_shape(match) != _weight_shape(layer):
            break
        count += 1
    return count / len(parent) if parent else 0.0


def _weighted(layers: list[Layer]) -> list[Layer]:
    return [layer for layer in layers if "in_channels" in layer.facts]


def _weight_shape(layer: Layer) -> tuple[object, ...]:
    names = ("kernel_height", "kernel_width", "stride_height")
    channels = ("in_channels", "out_channels", "groups")
    return (layer.kind, *(layer.facts[name] for name in (*names, *channels)))


def _specs(target: Target, *, size: Size) -> Iterator[NetSpec]:
    """Yield every distinct network, with the smallest width and depth that result in it."""
    multiple = int(target.parameters.get("channel_multiple", 8))
    multiple = multiple if multiple % 4 == 0 and multiple >= 8 else 8
    known: set[tuple[object, ...]] = set()
    for encoder in DESIGNS:
        for width in WIDTHS:
            for depth in DEPTHS:
                spec = NetSpec(
                    encoder=encoder,
                    head_width=_nearest(_HEAD, multiple),
                    deconv_widths=(_nearest(_DECONVOLUTION, multiple),) * 3,
                    activation="relu",
                    squeeze_excite=False,
                    size=size,
                    width_multiplier=width,
                    depth_multiplier=depth,
                    round_to=multiple,
                )
                key = (stem_channels(spec), blocks(spec))
                if key not in known:
                    known.add(key)
                    yield spec


def _nearest(channels: int, multiple: int) -> int:
    return (channels + multiple // 2) // multiple * multiple
