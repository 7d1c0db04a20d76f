"""The named recipes: functions that return a run as data; docstrings say command, hardware and result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from slimpose.train.recipe import Recipe
from slimpose.train.recipes.ablation import NETS, ablation
from slimpose.train.recipes.paper import as_published, beyond, compared_nets, paper_nets
from slimpose.train.recipes.small_data import detector, dpu, lite1, mnv2, pruned, teacher

RECIPES: dict[str, Callable[[], Recipe]] = {
    "mnv2": mnv2,
    "teacher": teacher,
    "detector": detector,
    "dpu": dpu,
    "lite1": lite1,
    "pruned": pruned,
    "beyond": beyond,
    **{name: partial(as_published, name, net) for name, net in paper_nets().items()},
    **{name: partial(as_published, name, net) for name, net in compared_nets().items()},
    **{f"ablation-{setting}": partial(ablation, setting) for setting in NETS},
}
