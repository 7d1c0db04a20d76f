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
_FRENCH: dict[str, Side] = {"g": "left", "d": "right"}
_SIDES: dict[str, Side] = _WORDS | _LETTERS
_ROWS = "fbhrtudmlvap"
"""Front, back, hind, rear, top, upper, down, middle, lower, vorn, anterior, posterior."""
_CORNERS: dict[str, tuple[Side, str]] = {
    **{f"{row}{letter}": (side, row) for row in _ROWS for letter, side in _LETTERS.items()},
    **{f"{row}{letter}": (side, row) for row in ("av", "ar") for letter, side in _FRENCH.items()},
}
_CORNERS_SIDE_FIRST: dict[str, tuple[Side, str]] = {
    f"{letter}{row}": (side, row) for row in _ROWS for letter, side in _LETTERS.items()
}
_PART = re.compile(
    r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|"
    r"(?:[^\W_A-Za-z0-9]|[\u0900-\u0e7f])+"
)
"""A part of a name such as LeftEye_2: Left, Eye, 2. Hindi and Thai write vowels as marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPairs:
    """Which joints exchange places in a mirrored image.

    Attributes:
        partners: For each joint the index of the joint on the other side; its own in the middle.
        sides: For each joint its side; None in the middle.
        plain_names: The names in one spelling and in English: left_eye, right_eye, nose.
        unpaired: Names that have a side and no partner.
    """

    partners: tuple[int, ...]
    sides: tuple[Side | None, ...]
    plain_names: tuple[str, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A way to read a name: its side and the rest; the clearest have rank 0.

    ``sign`` is what shows the side if it is a short word, "corner" for a code such as fl.
    """

    rank: int
    side: Side
    rest: tuple[str, ...]
    sign: str = ""


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
        sided |= _shown_by_others(readings, sided)
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
        yield _Reading(0, sides.pop(), rest)
    for index, part in enumerate(parts):
        before, after = parts[:index], parts[index + 1 :]
        if part in SHORT_SIDE_WORDS and not (len(part) == 1 and _are_letters(name, names)):
            yield _Reading(1, SHORT_SIDE_WORDS[part], (*before, *after), part)
        # lr is lower right or left rear; both of a pair show which.
        for rank, codes in ((1, _CORNERS), (2, _CORNERS_SIDE_FIRST)):
            if part in codes:
                side, row = codes[part]
                yield _Reading(rank, side, (*before, row, *after), "corner")
        for end, side in _SIDES.items():
            if len(part) < len(end) + 2:
                continue
            first, last = (0, 3) if end in _WORDS else (4, 5)
            if part.startswith(end):
                yield _Reading(first, side, (*before, part[len(end) :], *after))
            if part.endswith(end):
                sign = f"...{end}" if end in _WORDS else ""
                yield _Reading(last, side, (*before, part[: -len(end)], *after), sign)


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
                (left,), (right,) = sides["left"].items(), sides["right"].items()
                if left[0] != right[0] and not {left[0], right[0]} & paired:
                    paired |= {left[0], right[0]}
                    yield left, right


def _shown_by_others(
    readings: list[list[_Reading]], sided: dict[int, _Reading]
) -> dict[int, _Reading]:
    """Joints whose names might have a side, and do since other names use the same sign.

    Such as ojo_izq where there are mano_izq and mano_der; or codes and short words of both sides,
    which no two names of a skeleton have by chance.
    """
    known = {one.sign for one in sided.values() if one.sign}
    possible = {
        joint: next((one for one in ways if one.sign), None)
        for joint, ways in enumerate(readings)
        if joint not in sided
    }
    clear = {one.side for one in possible.values() if one and one.rank < 3 and len(one.sign) > 1}
    return {
        joint: one
        for joint, one in possible.items()
        if one and (one.sign in known or (len(clear) > 1 and one.rank < 3 and len(one.sign) > 1))
    }
