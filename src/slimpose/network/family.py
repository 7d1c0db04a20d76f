"""The named networks of the family."""

from __future__ import annotations

import dataclasses

from slimpose.arrays import Size
from slimpose.network.spec import NetSpec

DETECTOR_SIZE = Size(256, 320)

FAMILY: dict[str, NetSpec] = {
    **{f"b{i}": NetSpec(encoder=f"tf_efficientnet_b{i}") for i in range(7)},
    **{f"lite{i}": NetSpec(encoder=f"tf_efficientnet_lite{i}") for i in range(3)},
    **{f"r{depth}": NetSpec(encoder=f"resnet{depth}", head_width=0) for depth in (18, 34, 50)},
    "mnv2": NetSpec(encoder="mobilenetv2_100"),
    "mnv2-wide": NetSpec(encoder="mobilenetv2_100", width_multiplier=1.75),
    "dpu": NetSpec(
        encoder="mobilenetv2_100", activation="relu", squeeze_excite=False, depth_multiplier=1.4
    ),
    "dpu-b2304": NetSpec(
        encoder="mobilenetv2_100",
        activation="relu",
        squeeze_excite=False,
        depth_multiplier=1.3,
        round_to=12,
        head_width=36,
        deconv_widths=(36, 36, 36),
    ),
}
"""Networks of the family by name.

b0..b6 are the paper's (b1 its choice), r18..r50 its comparison (no head convolution), lite* the
hardware-portable form of b*, mnv2 the shipped default, mnv2-wide its teacher, dpu* what
``slimpose fit --gmac 0.43`` finds for Xilinx's B1024 (and B512) and for B2304.
"""


def family_spec(name: str, *, size: Size | None = None) -> NetSpec:
    """Return the spec of a network of the family, at another input size if given.

    Raises:
        ValueError: If the name is unknown; lists the known names.
    """
    if name not in FAMILY:
        raise ValueError(f"no network is named {name!r}; expected one of {', '.join(FAMILY)}")
    return FAMILY[name].at(size) if size else FAMILY[name]


def detector_of(spec: NetSpec, *, size: Size = DETECTOR_SIZE) -> NetSpec:
    """Return the spec of a person detector with the same encoder, of stride 8 with summed skips.

    Small people appear only in the finer maps: skips, which the paper found useless for crops, are
    needed to detect them.
    """
    return dataclasses.replace(
        spec, size=size, head_width=96, deconv_widths=(64, 64), skip="sum", joints=0
    )
