"""The paper's orderings on small data: everything as in one run but for the one thing that is looked at.

    python benchmarks/ablations.py --help

MobileNetV2 from MoveNet Lightning's trunk, stem and two stages frozen; 60,000 crops at 128x96,
batch 32, AdamW 1e-3 with one cosine, one seed; the same crops in the same order for all. Small data
and one seed: ``ablation-seed-1`` tells how much of a difference is noise.
"""

from __future__ import annotations

import dataclasses

from slimpose.arrays import Size
from slimpose.network.family import family_spec
from slimpose.network.spec import NetSpec
from slimpose.train.recipe import Phase, Recipe

_SIZE = Size(128, 96)
_NET = family_spec("mnv2", size=_SIZE)

NETS: dict[str, NetSpec] = {
    "base": _NET,
    "widths-10-8": dataclasses.replace(_NET, head_width=10, deconv_widths=(8,) * 3),
    "widths-80-64": dataclasses.replace(_NET, head_width=80, deconv_widths=(64,) * 3),
    "widths-320-256": dataclasses.replace(_NET, head_width=320, deconv_widths=(256,) * 3),
    "levels-2": dataclasses.replace(_NET, encoder_stride=16, deconv_widths=(32,) * 2),
    "levels-4": dataclasses.replace(_NET, deconv_widths=(32,) * 4),
    "skip-sum": dataclasses.replace(_NET, skip="sum"),
    "distilled": _NET,
    "seed-1": _NET,
}
"""Setting to net; "base" is the paper's choice in each table: 40-32x3, three levels, no skip."""


def ablation(setting: str) -> Recipe:
    """Return a setting's run."""
    return Recipe(
        name=f"ablation-{setting}",
        task="pose",
        net=NETS[setting],
        phases=(Phase(size=_SIZE, samples=60_000),),
        frozen_stages=2,
        evaluations=4,
        source_repeats={
            "coco": 2.0,
            "lspet": 1.0,
            "fashion": 1.0,
            "stanford40": 1.0,
            "pedestrian": 0.5,
        },
        distillation_weight=0.5 if setting == "distilled" else 0.0,
        seed=1 if setting == "seed-1" else 0,
    )
