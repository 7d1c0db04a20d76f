"""Limits of a recipe's settings: values outside of them cannot be meant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slimpose import fields
from slimpose.messages import quoted

if TYPE_CHECKING:
    from slimpose.train.recipe import Recipe

TRAINED_TASKS = ("pose", "detect")

_TINY = math.nextafter(0, 1)
_SHARE = (0.0, 1.0)
_BELOW_ONE = (0.0, math.nextafter(1, 0))
_LIMITS: dict[str, tuple[float, float]] = {
    "batch": (1, 1e6),
    "learning_rate": (_TINY, 10),
    "encoder_rate": (0, 100),
    "frozen_stages": (0, 100),
    "weight_decay": (0, 10),
    "warmup_share": _SHARE,
    "flat": _SHARE,
    "ema": _BELOW_ONE,
    "sigma_share": (_TINY, 0.5),
    "evaluations": (1, 1e6),
    "patience": (0, 1e6),
    "seed": (0, 2**63),
}
_PHASE_LIMITS: dict[str, tuple[float, float]] = {
    "samples": (0, 1e12),
    "epochs": (0, 1e6),
    "augmentation": (0, 10),
}
_AUGMENTATION_LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("flip", "rotate", "half_body", "grayscale", "blur", "random_erase"), _SHARE),
    **dict.fromkeys(("truncate", "low_resolution", "mixup", "mosaic", "shift"), _SHARE),
    "scale": _BELOW_ONE,
    "rotation_deg": (0, 180),
    "color_jitter": (0, 2),
}
_TEACHER_LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("weight", "min_agreement", "min_score"), _SHARE)
}


def check_recipe(recipe: Recipe) -> None:
    """Check every setting of a recipe.

    Raises:
        ValueError: If one is of another type or out of its limits; the message names it.
    """
    fields.check_settings(recipe, _LIMITS, "")
    fields.check_settings(recipe.augmentation, _AUGMENTATION_LIMITS, "augmentation.")
    fields.check_settings(recipe.teacher_labels, _TEACHER_LIMITS, "teacher_labels.")
    if not recipe.phases:
        raise ValueError("phases is empty; expected at least one phase with a size")
    for index, phase in enumerate(recipe.phases):
        where = f"phases[{index}]"
        fields.check_settings(phase, _PHASE_LIMITS, f"{where}.")
        if phase.samples and phase.epochs:
            raise ValueError(
                f"{where} has {phase.samples} samples and {phase.epochs:g} epochs; expected one "
                "of both"
            )
        if phase.teacher_size is not None and (phase.cached_teacher or recipe.task != "pose"):
            raise ValueError(
                f"{where}: teacher_size is for a pose network's teacher that runs on every crop; "
                "expected none for a cached teacher or a detector"
            )
        try:
            recipe.net.at(phase.size)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if recipe.warmup_share + recipe.flat >= 1:
        raise ValueError(
            f"warmup_share {recipe.warmup_share:g} and flat {recipe.flat:g} are "
            f"{recipe.warmup_share + recipe.flat:g} of the run; expected less than 1, so that the "
            "learning rate falls"
        )
    _check_drops(recipe.drops)
    for name in ("source_repeats", "keypoint_confidence"):
        _check_factors(getattr(recipe, name), name)


def _check_drops(drops: tuple[float, ...]) -> None:
    expected = "shares of the run between 0 and 1, each larger than the one before"
    for index, drop in enumerate(drops):
        before = drops[index - 1] if index else 0.0
        if not before < fields.number(drop, f"drops[{index}]") < 1:
            raise fields.fail("drops", list(drops), expected)


def _check_factors(factors: object, name: str) -> None:
    for source, factor in fields.table(factors, name).values.items():
        fields.number(factor, f"{name}[{quoted(source)}]", low=0, high=1e6)
