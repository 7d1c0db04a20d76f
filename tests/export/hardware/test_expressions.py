"""Conditions in target files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.export.hardware.expressions import Expression, MissingFactError, fill_placeholders

NUMBERS = st.integers(-50, 50)


@given(a=NUMBERS, b=st.integers(1, 50), c=NUMBERS)
def test_conditions_are_arithmetic(a: int, b: int, c: int) -> None:
    facts = {"a": a, "b": b, "c": c, "after": "conv"}
    for text, value in (
        ("a + b * c - 3", a + b * c - 3),
        ("ceil_div(a, b)", -(-a // b)),
        ("a // b % 7", a // b % 7),
        ("1 <= b <= 20 and a != c or not a > 4", (1 <= b <= 20 and a != c) or not a > 4),
        ("max(a, c) in (1, 2, b)", max(a, c) in (1, 2, b)),
        ("after not in ('add', 'mul') and -a < min(b, c)", -a < min(b, c)),
    ):
        assert Expression.parse(text).value(facts) == value


def test_a_condition_is_explained_with_its_numbers() -> None:
    bank = Expression.parse("kernel * kernel * ceil_div(channels, 8) <= 2048")
    text = bank.explain({"kernel": 5, "channels": 672})
    assert text == "kernel * kernel * ceil_div(channels, 8) <= 2048: 2100 <= 2048"
    filled = fill_placeholders("at most {2048 // (kernel * kernel) * 8} channels", {"kernel": 3})
    assert filled == "at most 1816 channels"
    both = Expression.parse("channels <= 8 and kernel <= 4")
    assert both.explain({"kernel": 5, "channels": 8}) == "kernel <= 4: 5 <= 4"
    with pytest.raises(MissingFactError, match="channels"):
        bank.value({"kernel": 3})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.b",
        "open('x')",
        "[x for x in y]",
        "lambda: 1",
        "a if b else c",
        "a **",
        "max(a, *b)",
    ],
)
def test_arbitrary_code_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"only arithmetic and comparisons|is not an expression"):
        Expression.parse(text)
