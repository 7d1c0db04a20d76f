"""The named recipes: functions that return a run as data; docstrings say command, hardware and result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from slimpose.formats.files import read_toml
from slimpose.network.weights import read_metadata
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


def recipe_of(text: str) -> Recipe:
    """Return a recipe by its name, of a TOML file that changes one, or the one that a weights file was trained by.

    The TOML file names what it changes, ``extends = "mnv2"`` (or another such file, or weights),
    then any settings of a ``Recipe``: ``alpha = 0.7``; of an ``[augmentation]``, a ``[net]``;
    ``[[phases]]`` replace all of them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such recipe, a setting is unknown, or the weights do not tell
            theirs.
    """
    path = Path(text)
    if text in RECIPES:
        return RECIPES[text]()
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        if "recipe" not in metadata:
            raise ValueError(
                f"{path} does not tell a recipe (the mean of several runs, or no run's weights?)"
            )
        return Recipe.from_json(metadata["recipe"])
    if path.suffix != ".toml":
        raise ValueError(
            f"no recipe is named {text!r}; expected FILE.toml, or one of {', '.join(RECIPES)}"
        )
    changes = read_toml(path, kind="recipe")
    if not isinstance(changes.get("extends"), str):
        raise ValueError(
            f'{path} does not say which recipe it changes; expected for example extends = "mnv2"'
        )
    base = recipe_of(changes.pop("extends"))
    try:
        return dataclasses.replace(base.with_changes(changes), name=path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
