"""The named recipes: functions that return a run as data, with command, hardware and result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from slimpose.formats.files import read_toml
from slimpose.messages import quoted
from slimpose.network.weights import read_metadata
from slimpose.train.recipe import Recipe
from slimpose.train.recipes.own import own, own_detector, own_teacher
from slimpose.train.recipes.paper import (
    ABLATION_NETS,
    ablation,
    as_published,
    beyond,
    compared_nets,
    paper_nets,
)
from slimpose.train.recipes.small_data import (
    detector,
    detector_mnv2,
    dpu,
    hr,
    hr_fast,
    lite1,
    mnv2,
    pruned,
    teacher,
)

RECIPES: dict[str, Callable[[], Recipe]] = {
    "own": own,
    "own-detector": own_detector,
    "own-teacher": own_teacher,
    "mnv2": mnv2,
    "hr": hr,
    "hr-fast": hr_fast,
    "teacher": teacher,
    "detector": detector,
    "detector-mnv2": detector_mnv2,
    "dpu": dpu,
    "lite1": lite1,
    "pruned": pruned,
    "beyond": beyond,
    **{name: partial(as_published, name, net) for name, net in paper_nets().items()},
    **{name: partial(as_published, name, net) for name, net in compared_nets().items()},
    **{f"ablation-{setting}": partial(ablation, setting) for setting in ABLATION_NETS},
}


def load_recipe(name: str, *, _extending: tuple[Path, ...] = ()) -> Recipe:
    """Return a recipe by name, from a TOML file, or from the metadata of a run's weights.

    A TOML file says what it changes, ``extends = "mnv2"`` (or another such file, or weights), and
    then any settings of a ``Recipe``: ``distillation_weight = 0.7``; of an ``[augmentation]``, a
    ``[net]``; ``[[phases]]`` replace all of them.

    >>> load_recipe("mnv2").batch
    32

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such recipe, a setting is unknown, or the weights have no recipe.
    """
    path = Path(name)
    if name in RECIPES:
        return RECIPES[name]()
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        if "recipe" not in metadata:
            raise ValueError(
                f"{path} contains no recipe (the mean of several runs, or not from a run?)"
            )
        try:
            return Recipe.from_json(metadata["recipe"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if path.suffix != ".toml":
        raise ValueError(
            f"no recipe is named {quoted(name)}; expected FILE.toml, or one of {', '.join(RECIPES)}"
        )
    changes = read_toml(path, kind="recipe")
    if not isinstance(changes.get("extends"), str):
        raise ValueError(
            f'{path} does not name the recipe it changes; expected for example extends = "mnv2"'
        )
    if path.resolve() in _extending:
        raise ValueError(f"{path} extends itself; expected another recipe")
    base = load_recipe(changes.pop("extends"), _extending=(*_extending, path.resolve()))
    try:
        return dataclasses.replace(base.with_changes(changes), name=path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
