"""Left and right in the names of joints: which two exchange places in a mirrored image.

The usual spellings are known, in any case: left_eye, eye_left, leftEye, l_eye, eye.L, LEye, leye,
and hoof_fl with hoof_fr; and the words of other languages (``joint_words.py``). Names that only
might have a side, such as leye, need both of a pair.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from slimpose.joint_words import PART_WORDS, SHORT_SIDE_WORDS, SIDE_WORDS, Side, in_latin_letters

_WORDS = SIDE_WORDS
_LETTERS: dict[str, Side] = {"l": "left", "r": "right"}
_SIDES: dict[str, Side] = _WORDS | _LETTERS
_CORNERS: dict[str, tuple[Side, str]] = {
    code: (side, row)
    for rows, letters in (
        ("fbhrtudmlvap", _LETTERS),  # front, back, hind, rear, top, upper, ... vorne, anterior
        (("av", "ar"), {"g": "left", "d": "right"}),  # avant, arrière; gauche, droite
        ("dtap", {"i": "left", "d": "right"}),  # delantero, trasero; izquierdo, derecho
    )
    for row in rows
    for letter, side in letters.items()
    for code in ((f"{row}{letter}", f"{letter}{row}") if row not in "rl" else (f"{row}{letter}",))
}
_REAR_CORNERS: dict[str, tuple[Side, str]] = {"lr": ("left", "r"), "rr": ("right", "r")}
"""With lf and rf, lr is left rear; otherwise lower right."""
_CORNER = "corner"
_LONG_REST = 3  # letters: earleft has a side, cleft and bright have none
_PART = re.compile(
    r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|(?:[^\W_A-Za-z0-9]|[\u0900-\u0e7f])+"
)
"""A part of a name such as LeftEye_2: Left, Eye, 2. Some scripts write vowels as marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPairs:
    """Which joints exchange places in a mirrored image.

    Attributes:
        partners: For each joint the index of the joint on the other side; its own in the middle.
        sides: For each joint its side; None in the middle.
        plain_names: The names in one spelling and in English: left_eye, right_eye, nose.
        unpaired: Names that have a side and no partner, by themselves or by the way in which others
            of the skeleton have one.
    """

    partners: tuple[int, ...]
    sides: tuple[Side | None, ...]
    plain_names: tuple[str, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A way to read a name: its side, the rest, and what the side is read from.

    The clearest readings have rank 0.
    """

    rank: int
    side: Side
    rest: tuple[str, ...]
    mark: str


@lru_cache(maxsize=64)
def mirror_pairs(
    names: tuple[str, ...], given: tuple[tuple[str, str], ...] | None = None
) -> MirrorPairs:
    """Return the mirror pairs of joints: those given, otherwise those of their names.

    >>> mirror_pairs(("nose", "eye.L", "eye.R")).partners
    (0, 2, 1)
    >>> mirror_pairs(("Nase", "linkes Auge", "rechtes Auge")).plain_names
    ('nose', 'left_eye', 'right_eye')
    """
    parts = _all_parts(names)
    readings = [
        sorted(_readings(name, names, of_name), key=lambda one: one.rank)
        for name, of_name in zip(names, parts, strict=True)
    ]
    sided = {joint: ways[0] for joint, ways in enumerate(readings) if ways and not ways[0].rank}
    partners = list(range(len(names)))
    if given is None:
        for pair in _pairs(readings):
            (first, reading), (second, other) = pair
            partners[first], partners[second] = second, first
            sided |= {first: reading, second: other}
        sided |= _as_others(readings, sided)
    else:
        for one, other in given:
            first, second = names.index(one), names.index(other)
            partners[first], partners[second] = second, first
    return MirrorPairs(
        partners=tuple(partners),
        sides=tuple(sided[joint].side if joint in sided else None for joint in range(len(names))),
        plain_names=tuple(
            "_".join((sided[joint].side, *_english(sided[joint].rest)))
            if joint in sided
            else "_".join(_english(of_name))
            for joint, of_name in enumerate(parts)
        ),
        unpaired=tuple(
            name
            for joint, name in enumerate(names)
            if given is None and joint in sided and partners[joint] == joint
        ),
    )


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _PART.findall(in_latin_letters(name)))


def _all_parts(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The parts of each name, without running numbers: 01_left_eye, 02_right_eye."""
    parts = [_parts(name) for name in names]
    numbers = [tuple(part for part in of_name if part.isdigit()) for of_name in parts]
    plain = [tuple(part for part in of_name if not part.isdigit()) for of_name in parts]
    are_running = all(len(one) == 1 for one in numbers) and len(set(numbers)) == len(names)
    return plain if are_running and all(plain) and len(set(plain)) == len(names) else parts


def _english(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of a name with the words of other languages translated."""
    whole = PART_WORDS.get("".join(parts))
    return (whole,) if whole else tuple(PART_WORDS.get(part, part) for part in parts)


def _readings(name: str, names: tuple[str, ...], parts: tuple[str, ...]) -> Iterator[_Reading]:
    """The ways to read a name as one side of a pair."""
    sides: set[Side] = {_SIDES[part] for part in parts if part in _SIDES}
    rest = tuple(part for part in parts if part not in _SIDES)
    is_letter = not any(part in _WORDS for part in parts) and _are_letters(name, names)
    if len(sides) == 1 and not is_letter:
        mark = next(part for part in parts if part in _SIDES)
        yield _Reading(0, sides.pop(), rest, mark)
    for index, part in enumerate(parts):
        before, after = parts[:index], parts[index + 1 :]
        if part in SHORT_SIDE_WORDS and not (len(part) == 1 and _are_letters(name, names)):
            yield _Reading(1, SHORT_SIDE_WORDS[part], (*before, *after), part)
        for rank, codes in ((1, _CORNERS), (2, _REAR_CORNERS)):
            if part in codes:
                side, row = codes[part]
                yield _Reading(rank, side, (*before, row, *after), _CORNER)
        for end, side in _SIDES.items():
            if len(part) < len(end) + 2:
                continue
            rank = 0 if end in _WORDS else 3
            if part.startswith(end):
                yield _Reading(rank, side, (*before, part[len(end) :], *after), end)
            if part.endswith(end):
                is_clear = rank == 0 and len(part) >= len(end) + _LONG_REST
                last = rank if is_clear else rank + 2
                yield _Reading(last, side, (*before, part[: -len(end)], *after), end)


def _as_others(readings: list[list[_Reading]], sided: dict[int, _Reading]) -> dict[int, _Reading]:
    """The readings of joints without a side that have the mark of others with one.

    Where hoof_hl and hoof_hr are a pair, hoof_fl is no joint of the middle. Single letters at the
    ends of words are no such marks: with leye and reye, lip still has no side.
    """
    used = {(one.rank, one.mark) for one in sided.values() if one.rank in (1, 2)}
    return {
        joint: matching[0]
        for joint, ways in enumerate(readings)
        if joint not in sided and (matching := [w for w in ways if (w.rank, w.mark) in used])
    }


def _are_letters(name: str, names: tuple[str, ...]) -> bool:
    """Whether names count by letters, as in a, b, c, ... or tip_a, tip_b, ...: l is no side."""
    stem = name[:-1].lower()
    others = {other.lower() for other in names if other.lower() != name.lower()}
    ends = {other[-1] for other in others if other[:-1] == stem and other[-1:].isalpha()}
    return len(ends) > 1 and not ends <= set("lrmc")


def _pairs(
    readings: list[list[_Reading]],
) -> Iterator[tuple[tuple[int, _Reading], tuple[int, _Reading]]]:
    """Pairs of joints with one reading on both sides, the clearest first; each joint once."""
    paired: set[int] = set()
    for rank in range(6):
        found: defaultdict[tuple[str, ...], dict[Side, dict[int, _Reading]]] = defaultdict(
            lambda: {"left": {}, "right": {}}
        )
        for joint, ways in enumerate(readings):
            for one in ways:
                if one.rank == rank and joint not in paired:
                    found[one.rest][one.side][joint] = one
        for sides in found.values():
            if len(sides["left"]) == len(sides["right"]) == 1:
                (left,), (right,) = sides["left"], sides["right"]
                if left != right and not {left, right} & paired:
                    paired |= {left, right}
                    yield (left, sides["left"][left]), (right, sides["right"][right])
