"""Damaged copies of JSON documents, each a pure function of a random generator."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, -3, 0.5, 1e9, 10**400, float("nan"), float("inf"),
    "", "x", "7", "\x1b[31m\n", 200_000 * "a", "\udcff", [], [None], {}, {"a": 1}, [[1, 2]],
)  # fmt: skip
"""What takes the place of a field: other types, extremes, control characters."""
PYTHON_WORDS = re.compile(
    r"NoneType|not subscriptable|object is not|unhashable|invalid literal|could not convert|"
    r"argument must be|has no attribute|unexpected keyword|cannot convert|not iterable|"
    r"setting an array|KeyError|TypeError"
)


def mutated(document: Any, rng: random.Random) -> Any:
    """Return a copy with a value replaced, removed or doubled."""
    document = copy.deepcopy(document)
    place = rng.choice(list(_places(document)))
    if not place:
        return copy.deepcopy(rng.choice(VALUES))
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    draw = rng.random()
    if draw < 0.7:
        parent[place[-1]] = copy.deepcopy(rng.choice(VALUES))
    elif draw < 0.85:
        del parent[place[-1]]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[place[-1]]))
    else:
        parent["unknown"] = copy.deepcopy(rng.choice(VALUES))
    return document


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values; of a list, those of its first four."""
    yield place
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(min(len(value), 4))
        if isinstance(value, list)
        else ()
    )
    for key in keys:
        yield from _places(value[key], (*place, key))
