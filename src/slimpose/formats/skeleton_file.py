"""Skeletons in files: fields of a COCO category, of skeleton.toml, or of JSON."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from slimpose import fields
from slimpose.fields import Fields
from slimpose.formats.files import read_json, read_toml
from slimpose.messages import quoted
from slimpose.skeleton import COCO17, Skeleton
from slimpose.skeleton_parts import with_derived_parts

PARTS = ("limbs", "skeleton", "sigmas", "flip_pairs", "upper_body", "trunk", "colors")
"""Fields that say what is otherwise derived; ``skeleton`` is COCO's name of ``limbs``."""
_COLOR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def skeleton_of_category(entry: Fields) -> Skeleton:
    """Return the skeleton of an entry of ``categories``: COCO's, if it has these joints.

    The fields of PARTS are optional. Parts that are missing are derived from the names, as far as
    they show them; sigmas that are neither given nor COCO's stay unknown.

    Raises:
        ValueError: If a field is invalid.
    """
    joints = _joints(entry, "keypoints")
    if joints == COCO17.joints:  # many such files have other limbs, or none, and are drawn alike
        _given_parts(entry, joints)
        entry = Fields({**entry.values, "skeleton": None}, entry.where)
    return _skeleton(entry, joints, name=entry.text("name"))


def read_skeleton(path: Path, base: Skeleton | None = None) -> Skeleton:
    """Read a skeleton file (TOML or JSON), with the other parts of ``base``.

    ``keypoints`` (or ``joints``) may be missing if there is a base; otherwise they are the base's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not describe a skeleton, or one with other joints than the base.
    """
    read = read_json if path.suffix == ".json" else read_toml
    entry = fields.table(read(path, kind="skeleton"), str(path))
    known = {"name", "keypoints", "joints", "sigma_source", *PARTS}
    if unknown := sorted(entry.values.keys() - known):
        raise ValueError(
            f"{path} has a field {quoted(unknown[0])}; expected some of {', '.join(sorted(known))}"
        )
    names = next((name for name in ("keypoints", "joints") if entry.has(name)), "")
    if not names and base is None:
        raise ValueError(f"{path} has no keypoints; expected a list of their names")
    joints = _joints(entry, names) if names else base.joints if base else ()
    if base is not None and joints != base.joints:
        raise ValueError(
            f"{path} has the keypoints {quoted(joints)}; the labels have {quoted(base.joints)}: "
            "expected the same, in the same order (or leave them out)"
        )
    name = entry.text("name") if entry.has("name") else base.name if base else path.stem
    return _skeleton(entry, joints, name=name, base=base)


def _skeleton(
    entry: Fields, joints: tuple[str, ...], *, name: str, base: Skeleton | None = None
) -> Skeleton:
    try:
        given = _given_parts(entry, joints)
        if base is not None:
            return dataclasses.replace(base, name=name, **given)
        if joints == COCO17.joints:
            return dataclasses.replace(COCO17, **given) if given else COCO17
        return with_derived_parts(Skeleton(name=name, joints=joints, **given))
    except ValueError as error:
        raise ValueError(f"{entry.where}: {error}") from error


def _given_parts(entry: Fields, joints: tuple[str, ...]) -> dict[str, Any]:
    """The parts that a file states, as arguments of ``Skeleton``."""
    given: dict[str, Any] = {}
    for name in ("limbs", "skeleton"):
        if entry.values.get(name):
            given["limbs"] = _pairs(entry, name, joints)
    if entry.has("flip_pairs"):
        given["flip_pairs"] = _pairs(entry, "flip_pairs", joints)
    for name in ("upper_body", "trunk"):
        if entry.has(name):
            given[name] = tuple(
                _joint(value, f"{entry.what(name)}[{index}]", joints)
                for index, value in enumerate(entry.items(name))
            )
    if entry.has("sigmas"):
        sigmas = _by_joint(entry, "sigmas", joints)
        given["sigmas"] = tuple(
            fields.number(value, f"{entry.what('sigmas')}[{index}]")
            for index, value in enumerate(sigmas)
        )
        source = entry.values.get("sigma_source")
        given["sigma_source"] = source if isinstance(source, str) else "given"
    if entry.has("colors"):
        given["colors"] = tuple(
            _color(value, f"{entry.what('colors')}[{index}]")
            for index, value in enumerate(_by_joint(entry, "colors", joints))
        )
    return given


def _by_joint(entry: Fields, name: str, joints: tuple[str, ...]) -> list[Any]:
    """Values of all joints: a list, a table by name, or (sigmas) one number for all of them."""
    value = entry.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value] * len(joints)
    if isinstance(value, dict):
        if set(value) != set(joints):
            wrong = sorted(set(value) ^ set(joints))
            raise ValueError(
                f"{entry.what(name)} names {quoted(sorted(value))}; expected every keypoint once "
                f"({quoted(wrong[0])} is missing or unknown)"
            )
        return [value[joint] for joint in joints]
    return entry.items(name, "a list with a value for each keypoint, or a table by name")


def _color(value: object, what: str) -> tuple[int, int, int]:
    if isinstance(value, str) and (match := _COLOR.fullmatch(value)):
        red, green, blue = (int(part, 16) for part in match.groups())
        return red, green, blue
    if isinstance(value, list) and len(value) == 3:
        red, green, blue = (fields.integer(part, what, low=0, high=255) for part in value)
        return red, green, blue
    raise fields.fail(what, value, 'a color such as "#ff8a00", or red, green, blue 0..255')


def _joints(entry: Fields, name: str) -> tuple[str, ...]:
    return tuple(
        _joint_name(value, f"{entry.what(name)}[{index}]")
        for index, value in enumerate(entry.items(name, "a list of names"))
    )


def _joint_name(value: object, what: str) -> str:
    """A joint's name; numbers are names too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise fields.fail(what, value, "a keypoint's name")
    return value


def _joint(value: object, what: str, joints: tuple[str, ...]) -> str:
    """A joint given by its name or by its number from 1."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(joints):
        return joints[value - 1]
    raise fields.fail(what, value, f"a keypoint's name, or its number 1..{len(joints)}")


def _pairs(entry: Fields, name: str, joints: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of joints, each given by its number from 1 or by its name."""
    pairs: list[tuple[str, str]] = []
    for index, pair in enumerate(entry.items(name)):
        what = f"{entry.what(name)}[{index}]"
        expected = f"two numbers 1..{len(joints)}, or two names"
        ends = fields.items(pair, what, expected)
        is_valid = len(ends) == 2 and all(
            isinstance(end, str)
            or (isinstance(end, int) and not isinstance(end, bool) and 1 <= end <= len(joints))
            for end in ends
        )
        if not is_valid:
            raise fields.fail(what, pair, expected)
        pairs.append((_joint(ends[0], what, joints), _joint(ends[1], what, joints)))
    return tuple(pairs)
