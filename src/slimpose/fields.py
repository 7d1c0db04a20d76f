"""Typed reading of JSON and TOML: every error names file, entry, field, value and expectation.

``what`` is the place of a value, such as "people.json: annotation 7: bbox".
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float32

from slimpose.messages import quoted

_LARGEST = 2**53
"""Larger integers are not exact in other JSON readers, nor as floats."""
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,16}\s*")
_KINDS = ((dict, "an object"), (list, "a list"), (str, "a text"), (object, "a number"))
_FLAGS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


def fail(what: str, value: object, expected: str) -> ValueError:
    """Return the error that a value is not what is expected."""
    return ValueError(f"{what} is {quoted(value)}; expected {expected}")


def integer(value: object, what: str, *, low: int = -_LARGEST, high: int = _LARGEST) -> int:
    """Return an integer, also one that is written as text or as 1.0.

    Raises:
        ValueError: If it is none, or outside of low..high.
    """
    number = value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise fail(what, value, f"an integer{_range(low, high)}")
    return number


def id_key(value: object) -> str:
    """Return an id as text, to compare ids that may be invalid: 7, 7.0 and "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    return str(value)


def number(value: object, what: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number.

    Raises:
        ValueError: If it is none, or outside of low..high.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or not _is_finite(value)
    ):
        raise fail(what, value, f"a finite number{_range(low, high)}")
    return float(value)


def flag(value: object, what: str) -> bool:
    """Return true or false, also if it is written as 0 or 1, or as text.

    Raises:
        ValueError: If it is none.
    """
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, str | int | float) or key not in _FLAGS:
        raise fail(what, value, "0 or 1")
    return _FLAGS[key]


def text(value: object, what: str) -> str:
    """Return a text that is not blank.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise fail(what, value, "text")
    return value


def items(value: object, what: str, expected: str = "a list") -> list[Any]:
    """Return a list.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, list):
        raise fail(what, value, expected)
    return value


def numbers(value: object, what: str, *, count: int, expected: str) -> Float32[np.ndarray, " n"]:
    """Return a list of ``count`` finite numbers as an array.

    Raises:
        ValueError: If it is none; a list of another length is described by its length.
    """
    array = _numeric_array(value) if isinstance(value, list) and len(value) == count else None
    if array is not None and np.isfinite(array).all():
        return array
    expected = f"{count} finite numbers: {expected}"
    if isinstance(value, list) and len(value) != count:
        raise ValueError(f"{what} is {quoted(value)}, {len(value)} values; expected {expected}")
    raise fail(what, value, expected)


def _numeric_array(value: list[Any]) -> Float32[np.ndarray, " n"] | None:
    """Return a list of numbers as an array, infinite where too large; None if it is not one."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # lists of several lengths
        return None
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        return None
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def json_kind(value: object) -> str:
    """Return what JSON calls a value: an object, a list, a text, a number, true, null."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return next(name for kind, name in _KINDS if isinstance(value, kind))


def table(value: object, what: str, expected: str = "an object with named fields") -> Fields:
    """Return a JSON object or TOML table to read fields of.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, dict):
        raise fail(what, value, expected)
    return Fields(value, what)


def from_json(text: str, what: str) -> Any:
    """Parse JSON that a file contains as text, such as metadata.

    Raises:
        ValueError: If it is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{what} is {quoted(text)}; expected JSON less deeply nested") from error
    except ValueError as error:
        raise ValueError(f"{what} is {quoted(text)}; expected JSON ({error})") from error


_Settings = TypeVar("_Settings")


def build(cls: type[_Settings], value: object, what: str) -> _Settings:
    """Return a dataclass of settings from a JSON object with its fields.

    Raises:
        ValueError: If a field is unknown or missing, or the dataclass rejects the values.
    """
    known = {field.name: field for field in dataclasses.fields(cast("Any", cls))}
    values = dict(table(value, what).values)
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"{what} has the unknown setting {quoted(unknown[0])}; expected one of "
            f"{', '.join(known)}"
        )
    for name, field in known.items():
        defaults = (field.default, field.default_factory)
        if name not in values and all(one is dataclasses.MISSING for one in defaults):
            raise ValueError(
                f"{what} has no {name}; expected it among its fields, {quoted(list(values))}"
            )
        if name in values:
            _check_plain(field, values[name], f"{what}.{name}", (-math.inf, math.inf))
            if field.type in ("float", float):
                values[name] = float(values[name])
    return cls(**values)


def check_settings(settings: object, limits: Mapping[str, tuple[float, float]], what: str) -> None:
    """Check the plain fields of a dataclass: their types, and numbers within inclusive limits.

    Raises:
        ValueError: If a value is of another type, not finite or out of its limits.
    """
    for field in dataclasses.fields(cast("Any", settings)):
        value = getattr(settings, field.name)
        _check_plain(
            field, value, f"{what}{field.name}", limits.get(field.name, (-math.inf, math.inf))
        )


def check_integers(values: Iterable[object], what: str, *, low: int, high: int) -> None:
    """Check that every value is an integer within inclusive limits.

    Raises:
        ValueError: If one is not.
    """
    for index, value in enumerate(values):
        if type(value) is not int or not low <= value <= high:
            raise fail(f"{what}[{index}]", value, f"an integer{_range(low, high)}")


def check_count(value: object, what: str) -> None:
    """Check that an argument is an integer of 1 or more.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
        raise fail(what, value, "an integer of 1 or more")


def _check_plain(
    field: dataclasses.Field[Any], value: Any, place: str, limits: tuple[float, float]
) -> None:
    """Check the value of a field that is an int, float, bool or str; others pass."""
    low, high = limits
    is_right, expected = True, ""
    if field.type in ("int", int):
        is_right = type(value) is int and low <= value <= high and abs(value) <= _LARGEST
        expected = f"an integer{_range(low, high) or f' of at most {_LARGEST}'}"
    elif field.type in ("float", float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_right = is_number and low <= value <= high and _is_finite(value)
        expected = f"a finite number{_range(low, high)}"
    elif field.type in ("bool", bool):
        is_right, expected = isinstance(value, bool), "true or false"
    elif field.type in ("str", str):
        is_right, expected = isinstance(value, str), "text"
    if not is_right:
        raise fail(place, value, expected)


class Fields:
    """A JSON object or TOML table, read field by field; ``where`` is its place in a file.

    >>> Fields({"id": "7"}, "people.json: image 1").integer("id")
    7
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def has(self, name: str) -> bool:
        """Return whether a field has a value: null is none."""
        return self.values.get(name) is not None

    def get(self, name: str) -> Any:
        """Return the value of a field.

        Raises:
            ValueError: If there is no such field.
        """
        try:
            return self.values[name]
        except KeyError:
            got = quoted(list(self.values))
            raise ValueError(
                f"{self.where} has no {name}; expected it among its fields, {got}"
            ) from None

    def what(self, name: str) -> str:
        """Return the place of a field in a file."""
        return f"{self.where}: {name}"

    def integer(self, name: str, *, low: int = -_LARGEST, high: int = _LARGEST) -> int:
        """Return an integer; see the function of this name."""
        return integer(self.get(name), self.what(name), low=low, high=high)

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number; see the function of this name."""
        return number(self.get(name), self.what(name), low=low, high=high)

    def flag(self, name: str) -> bool:
        """Return true or false; see the function of this name."""
        return flag(self.get(name), self.what(name))

    def text(self, name: str) -> str:
        """Return a text; see the function of this name."""
        return text(self.get(name), self.what(name))

    def line(self, name: str, *, longest: int = 1000, expected: str = "one line of at most") -> str:
        """Return a text that is printed: one line of at most ``longest`` printable characters."""
        value = self.text(name)
        if not value.isprintable() or len(value) > longest:
            raise fail(self.what(name), value, f"{expected} {longest} printable characters")
        return value

    def items(self, name: str, expected: str = "a list") -> list[Any]:
        """Return a list; see the function of this name."""
        return items(self.get(name), self.what(name), expected)

    def numbers(self, name: str, *, count: int, expected: str) -> Float32[np.ndarray, " n"]:
        """Return an array; see the function of this name."""
        return numbers(self.get(name), self.what(name), count=count, expected=expected)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(
            text(value, f"{self.what(name)}[{index}]")
            for index, value in enumerate(self.items(name))
        )


def _range(low: float, high: float) -> str:
    """Inclusive limits in words; the next float above 0 or below 1 is an exclusive one."""
    is_open_low, is_open_high = low == math.nextafter(0, 1), high == math.nextafter(1, 0)
    lower = " above 0" if is_open_low else f" of {low:g} or more"
    upper = " below 1" if is_open_high else f" of at most {high:g}"
    if low <= -_LARGEST:
        return "" if high >= _LARGEST else upper
    if high >= _LARGEST:
        return lower
    return f"{lower} and{upper}" if is_open_low or is_open_high else f" {low:g}..{high:g}"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
