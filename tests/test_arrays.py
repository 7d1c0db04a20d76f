from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.arrays import Size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256x192", Size(height=256, width=192)),  # height comes first, as in every shape
        ("64X48", Size(height=64, width=48)),  # a capital X is no other thing
        ("1x1", Size(height=1, width=1)),  # the smallest there is
    ],
)
def test_a_size_is_read_height_first(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_size_reads_back_what_it_prints(height: int, width: int) -> None:
    assert Size.parse(str(Size(height, width))) == Size(height, width)


@pytest.mark.parametrize(
    "text",
    [
        "",  # nothing
        "256",  # one number
        "256x192x3",  # a shape
        "0x192",  # no area
        "-256x192",  # negative
        "256.0x192",  # not whole
        "axb",  # no numbers
        "256 x 192",  # spaces
        "\u00b2x5",  # a digit to isdigit, no number to int
    ],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape("is not HEIGHTxWIDTH; expected for example 256x192")
    ):
        Size.parse(text)
