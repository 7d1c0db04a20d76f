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
        ("64X48", Size(height=64, width=48)),  # a capital X is accepted
        ("1x1", Size(height=1, width=1)),  # the smallest valid size
    ],
)
def test_size_is_parsed_height_first(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_size_round_trips_through_text(height: int, width: int) -> None:
    assert Size.parse(str(Size(height, width))) == Size(height, width)


@pytest.mark.parametrize(
    "text",
    [
        "",  # empty
        "256",  # one number
        "256x192x3",  # a shape
        "0x192",  # no area
        "-256x192",  # negative
        "256.0x192",  # not an integer
        "axb",  # not numbers
        "256 x 192",  # spaces
        "\u00b2x5",  # isdigit accepts it, int does not
    ],
)
def test_invalid_size_is_rejected_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape("is not HEIGHTxWIDTH; expected for example 256x192")
    ):
        Size.parse(text)
