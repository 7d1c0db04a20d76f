from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from slimpose import fields
from slimpose.fields import Fields


@pytest.mark.parametrize("value", [7, "7", " 7 ", 7.0, "+7"])
def test_integer_may_be_written_as_text(value: object) -> None:
    assert fields.integer(value, "id") == 7


@pytest.mark.parametrize("value", [0, "0", False, "false"])
def test_flag_may_be_written_as_text(value: object) -> None:
    assert fields.flag(value, "iscrowd") is False


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: fields.integer(True, "id"), "id is True; expected an integer"),
        (lambda: fields.integer("seven", "id"), "id is 'seven'; expected an integer"),
        (lambda: fields.integer(None, "id"), "id is None; expected an integer"),
        (lambda: fields.integer(7.5, "id"), "id is 7.5; expected an integer"),
        (lambda: fields.integer(10**400, "id"), "expected an integer"),
        (lambda: fields.integer(0, "width", low=1), "width is 0; expected an integer of 1 or more"),
        (lambda: fields.integer(9, "x", low=1, high=3), "x is 9; expected an integer 1..3"),
        (lambda: fields.number(float("nan"), "area"), "area is nan; expected a finite number"),
        (lambda: fields.number(float("inf"), "area"), "area is inf; expected a finite number"),
        (lambda: fields.number(10**400, "area"), "expected a finite number"),
        (lambda: fields.number("12", "area"), "area is '12'; expected a finite number"),
        (lambda: fields.flag(2, "iscrowd"), "iscrowd is 2; expected 0 or 1"),
        (lambda: fields.flag([], "iscrowd"), "iscrowd is []; expected 0 or 1"),
        (lambda: fields.text(" ", "name"), "name is ' '; expected text"),
        (
            lambda: fields.numbers([1], "bbox", count=4, expected="x, y, width, height"),
            "bbox is [1], 1 values; expected 4 finite numbers: x, y, width, height",
        ),
        (lambda: fields.numbers(["1"], "x", count=1, expected="x"), "x is ['1']; expected 1"),
        (lambda: fields.numbers([1e39], "x", count=1, expected="x"), "x is [1e+39]; expected 1"),
        (lambda: fields.numbers([10**400], "x", count=1, expected="x"), "expected 1 finite"),
        (lambda: fields.table([], "people.json"), "people.json is []; expected an object"),
        (
            lambda: Fields({"a": 1}, "image 7").get("id"),
            "image 7 has no id; expected it among its fields, ['a']",
        ),
        (lambda: fields.from_json("{", "net"), "net is '{'; expected JSON"),
        (lambda: fields.from_json("[" * 100_000, "net"), "expected JSON"),
    ],
)
def test_refusal_names_place_value_and_expectation(
    read: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read()
    assert len(str(caught.value)) < 300


@dataclass(frozen=True)
class _Settings:
    size: int
    share: float = 0.5
    is_on: bool = False
    name: str = ""


def test_settings_are_built_from_an_object() -> None:
    assert fields.build(_Settings, {"size": 3, "name": "a"}, "x") == _Settings(3, name="a")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "net is None; expected an object"),
        ({}, "net has no size; expected it among its fields, []"),
        ({"size": 10**400}, "expected an integer of at most 9007199254740992"),
        ({"size": 1, "color": 2}, "net has the unknown setting 'color'; expected one of size"),
    ],
)
def test_settings_with_other_fields_are_rejected(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fields.build(_Settings, value, "net")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (_Settings(0), "net.size is 0; expected an integer of 1 or more"),
        (_Settings("3"), "net.size is '3'; expected an integer"),  # pyright: ignore[reportArgumentType]
        (_Settings(True), "net.size is True; expected an integer"),
        (_Settings(1, share=float("nan")), "net.share is nan; expected a finite number"),
        (_Settings(1, share=2), "net.share is 2; expected a finite number 0..1"),
        (_Settings(1, is_on=1), "net.is_on is 1; expected true or false"),  # pyright: ignore[reportArgumentType]
        (_Settings(1, name=None), "net.name is None; expected text"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_settings_out_of_their_limits_are_rejected(settings: _Settings, message: str) -> None:
    limits = {"size": (1.0, float("inf")), "share": (0.0, 1.0)}
    with pytest.raises(ValueError, match=re.escape(message)):
        fields.check_settings(settings, limits, "net.")
