from __future__ import annotations

import pytest

from slimpose.messages import printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("street.jpg", "street.jpg"),
        ("größe 点.jpg", "größe 点.jpg"),  # letters of any language stay
        ("a\x1b[31mred\x07", r"a\x1b[31mred\x07"),  # a terminal's color and bell
        ("a\nslimpose: all is well", r"a\nslimpose: all is well"),  # still one line
        ("a\u202egpj", r"a\u202egpj"),  # text that would be shown backwards
        ("a\udcff", r"a\udcff"),  # a byte that is not UTF-8
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_message_keeps_its_start_and_end() -> None:
    shown = printable("what " + 200_000 * "x" + " cause")
    assert len(shown) < 2100
    assert shown.startswith("what xxx")
    assert shown.endswith("xxx cause")
    assert "(198011 characters)" in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("ab", "'ab'"),
        ("\x1b[0m", r"'\x1b[0m'"),
        ([1, 2], "[1, 2]"),
        (200_000 * "a", "(200000 characters)"),
        (200_000 * ["\n"], "(200000 items)"),
        ({"a": 200_000 * [1]}, "(1 fields)"),
        ([[200_000 * "a"]], "(1 items)"),
    ],
)
def test_values_are_shown_shortened(value: object, shown: str) -> None:
    assert shown in quoted(value)
    assert len(quoted(value)) < 110


SECRET = "rtsp://user:hunter2@camera/live"


@pytest.mark.parametrize(
    "value",
    [SECRET, [SECRET], {"a": [SECRET]}, f"{40 * '.'} {SECRET}", {SECRET: 1}, SECRET + 300 * "x"],
)
def test_passwords_of_addresses_are_not_quoted(value: object) -> None:
    assert "hunter2" not in quoted(value)
    assert "rtsp://***@" in quoted(value)
