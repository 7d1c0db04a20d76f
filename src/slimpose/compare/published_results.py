"""What the compared systems' papers print of them, and where our count of the same net differs, why.

AP is of COCO val2017 with the boxes of a detector of person AP 56.4 and flip test, unless
``protocol`` says otherwise. "GFLOPs" in these papers are multiply-adds, counted in one of two ways
(see ``slimpose.network.cost``), ``tool`` or ``gmac``.
"""

from __future__ import annotations

from dataclasses import dataclass

from slimpose.arrays import Size

VAL_DETECTOR_FLIP = "val2017, detector boxes (56.4), flip"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a paper's table.

    Attributes:
        system: What the paper calls it.
        net: Its name in ``slimpose.network.build.BASELINES``; empty if it cannot be rebuilt.
        size: Input height and width.
        params_m: Parameters in 1e6, if printed.
        tool: The tool number, if printed.
        gmac: True multiply-adds in 1e9, if printed.
        ap: AP in percent.
        protocol: What the AP was measured on.
        note: Why our count differs by more than 1 % and a unit of the last printed digit, or why
            there is no net.
    """

    system: str
    net: str
    size: Size
    ap: float
    params_m: float | None = None
    tool: float | None = None
    gmac: float | None = None
    protocol: str = VAL_DETECTOR_FLIP
    note: str = ""


_CROP, _SMALL, _LARGE = Size(256, 192), Size(128, 96), Size(384, 288)

_HOURGLASS_NOTE = (
    "This net, as its paper describes it, counts 25.4 M and 19.2 (20.6 true). 25.1 M is the same without the stem's "
    "0.35 M; 14.3 is what it costs at 192x192 (14.38), so the step from 256 to 192 seems to have been taken twice. "
    "CPN's paper, which measured the 66.9 AP, prints 19.48 for 256x192."
)
_EFFICIENTPOSE_C_NOTE = (
    "It counts 1.46. The same table's 2.0 for 256x256 would be 1.5 here too; A and B fit in both."
)
_OPENPOSE_NOTE = "The paper prints 9 for 368x368 (8.88 here) and measures AP at that height; 7.7 is of OpenVINO's file."
_IKDNET_NOTE = "No public code, and its abstract does not describe the network."

ROWS: tuple[PublishedRow, ...] = (
    *(
        PublishedRow(
            system=f"SimpleBaseline R{depth}",
            net=f"simplebaseline-r{depth}",
            size=_CROP,
            params_m=params_m,
            tool=tool,
            gmac=gmac,
            ap=ap,
        )
        for depth, params_m, tool, gmac, ap in (
            (50, 34.0, 8.9, 5.43, 70.4),
            (101, 53.0, 12.4, 9.06, 71.4),
            (152, 68.6, 15.7, 12.7, 72.0),
        )
    ),
    *(
        PublishedRow(
            system=f"SimpleBaseline R{depth} + DARK",
            net=f"simplebaseline-r{depth}",
            size=_SMALL,
            tool=tool,
            gmac=gmac,
            ap=ap,
        )
        for depth, tool, gmac, ap in (
            (50, 2.3, 1.36, 62.6),
            (101, 3.1, 2.27, 63.2),
            (152, 3.9, 3.18, 63.1),
        )
    ),
    PublishedRow(
        system="HRNet-W32", net="hrnet-w32", size=_CROP, params_m=28.5, tool=7.1, gmac=7.7, ap=74.4
    ),
    PublishedRow(
        system="HRNet-W48",
        net="hrnet-w48",
        size=_CROP,
        params_m=63.6,
        tool=14.6,
        gmac=15.77,
        ap=75.1,
    ),
    PublishedRow(
        system="HRNet-W32 + DARK", net="hrnet-w32", size=_SMALL, params_m=28.5, tool=1.8, ap=70.7
    ),
    PublishedRow(
        system="HRNet-W32 + DARK", net="hrnet-w32", size=_CROP, params_m=28.5, tool=7.1, ap=75.6
    ),
    PublishedRow(
        system="HRNet-W48 + DARK",
        net="hrnet-w48",
        size=_LARGE,
        params_m=63.6,
        tool=32.9,
        gmac=35.5,
        ap=76.8,
    ),
    *(
        PublishedRow(
            system=f"LPN-{depth}",
            net=f"lpn-{depth}",
            size=_CROP,
            params_m=params_m,
            tool=tool,
            gmac=gmac,
            ap=ap,
        )
        for depth, params_m, tool, gmac, ap in (
            (50, 2.9, 1.0, 1.07, 69.1),
            (101, 5.3, 1.4, 1.50, 70.4),
            (152, 7.4, 1.8, 1.94, 71.0),
        )
    ),
    *(
        PublishedRow(
            system=f"EfficientPose-{variant.upper()}",
            net=f"efficientpose-{variant}",
            size=_CROP,
            params_m=params_m,
            tool=tool,
            gmac=gmac,
            ap=ap,
            note=_EFFICIENTPOSE_C_NOTE if variant == "c" else "",
        )
        for variant, params_m, tool, gmac, ap in (
            ("a", 1.3, 0.5, 0.41, 66.5),
            ("b", 3.3, 1.1, 1.05, 71.1),
            ("c", 5.0, 1.6, 1.40, 71.3),
        )
    ),
    PublishedRow(
        system="IKDNet",
        net="",
        size=Size(256, 128),
        tool=3.2,
        ap=70.3,
        protocol="test-dev",
        note=_IKDNET_NOTE,
    ),
    PublishedRow(
        system="8-stage Hourglass",
        net="hourglass-8",
        size=_CROP,
        params_m=25.1,
        tool=14.3,
        ap=66.9,
        protocol="val2017, CPN's detector boxes",
        note=_HOURGLASS_NOTE,
    ),
    PublishedRow(
        system="Lightweight OpenPose",
        net="lightweight-openpose",
        size=Size(256, 456),
        params_m=4.1,
        gmac=7.7,
        ap=42.8,
        protocol="val2017, bottom-up, no boxes",
        note=_OPENPOSE_NOTE,
    ),
)
"""The systems the paper compares itself with. The HRNets' GMAC are 0.5 to 0.7 % over ours: whoever printed them counted
more than convolutions."""
