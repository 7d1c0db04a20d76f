"""The category of a COCO file that holds the people."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from typing import Any

from slimpose import fields
from slimpose.fields import Fields
from slimpose.messages import DataWarning, quoted


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One entry of ``categories``, and how many annotations name it."""

    id: int
    name: str
    entry: Fields
    annotations: int

    @property
    def has_keypoints(self) -> bool:
        """Whether it names keypoints."""
        return bool(self.entry.values.get("keypoints"))


def read_categories(
    categories: list[Any], category_ids: Counter[int], where: str
) -> list[Category]:
    """Read the categories; ``category_ids`` counts the annotations of each.

    Raises:
        ValueError: If an entry is invalid, an id is doubled, or annotations name a category that is
            not there.
    """
    found: dict[int, Category] = {}
    for index, value in enumerate(categories):
        entry = fields.table(value, f"{where}: categories[{index}]")
        number = entry.integer("id")
        if number in found:
            raise ValueError(
                f"{where}: category id {number} is duplicated; expected unique ids "
                "(two files joined?)"
            )
        name = entry.text("name")
        entry = Fields(entry.values, f"{where}: category {quoted(name)}")
        found[number] = Category(
            id=number, name=name, entry=entry, annotations=category_ids[number]
        )
    for number, count in category_ids.items():
        if number not in found:
            raise ValueError(
                f"{where}: {count} annotations have category_id {number}; expected one of the "
                f"file's categories, {_listed(list(found.values()))}"
            )
    return list(found.values())


def people_category(categories: list[Category], where: str, *, keypoints: bool) -> Category:
    """Return the category of the people.

    With ``keypoints`` it is one that names keypoints. Exporters also write categories that no
    annotation has, such as a root with the project's name; these come last. Of several, the one
    named person is the people's.

    Raises:
        ValueError: If there is none, or several might be it.
    """
    candidates = [one for one in categories if one.has_keypoints] if keypoints else categories
    if not candidates:
        raise ValueError(
            f"{where}: no category has keypoints; got {_listed(categories)}; expected one with the "
            "keypoints' names (is it a file of boxes?)"
        )
    parents = {
        one.id
        for one in candidates
        if not one.annotations
        and any(
            other.entry.values.get("supercategory") == one.name and other.id != one.id
            for other in categories
        )
    }
    candidates = [one for one in candidates if one.id not in parents] or candidates
    people = [one for one in candidates if one.name.strip().lower() == "person"] or candidates
    chosen = [one for one in people if one.annotations] or people
    if len(chosen) > 1:
        raise ValueError(
            f"{where}: {len(chosen)} categories may be the people: {_listed(chosen)}; expected one"
            " with annotations, or one named person "
            "(slimpose convert FILE --category NAME --out OUT)"
        )
    left_out = [one for one in categories if one.has_keypoints and one.annotations]
    if left_out := [one for one in left_out if one is not chosen[0]]:
        warnings.warn(
            f"{where}: of the categories with keypoints only {_listed(chosen)} is used; left out: "
            f"{_listed(left_out)} (slimpose convert FILE --category NAME --out OUT takes another)",
            DataWarning,
            stacklevel=2,
        )
    return chosen[0]


def _listed(categories: list[Category]) -> str:
    shown = ", ".join(
        f"{one.id} {quoted(one.name)} ({one.annotations} annotations)" for one in categories[:8]
    )
    return shown + ", ..." * (len(categories) > 8) if shown else "none"
