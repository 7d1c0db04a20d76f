from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.areas import Line, Zone, read_areas
from slimpose.fields import Fields

SQUARE = [[0.1, 0.2], [0.6, 0.2], [0.6, 0.8], [0.1, 0.8]]


def read(**tables: Any) -> Any:
    return read_areas(Fields(tables, "cameras.toml: camera door"))


def test_zones_and_lines_are_read() -> None:
    zone, line = read(
        zones={"counter": {"points": SQUARE, "dwell_s": 30}},
        lines={"entrance": {"points": [[0.0, 0.5], [1, 0.5]]}},
    )
    assert isinstance(zone, Zone)
    assert (zone.name, zone.dwell_s, zone.points[2]) == ("counter", 30.0, (0.6, 0.8))
    assert line == Line(name="entrance", start=(0.0, 0.5), end=(1.0, 0.5))
    assert read() == ()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"zones": []}, "zones is []; expected tables"),
        ({"zones": {"": {"points": SQUARE}}}, "names of at most 40 letters"),
        ({"zones": {"a/b": {"points": SQUARE}}}, "names of at most 40 letters"),
        ({"zones": {"a": {"points": SQUARE[:2]}}}, "3 to 64 points"),
        ({"zones": {"a": {"points": [[0, 0], [0.5, 0.5], [1, 1]]}}}, "corners that enclose"),
        ({"zones": {"a": {"points": [[10, 20], [600, 20], [600, 80]]}}}, "are they pixels?"),
        ({"zones": {"a": {"points": [[0, 0], [1, 0], [1, "x"]]}}}, "2 finite numbers"),
        ({"zones": {"a": {"points": [[0, 0], [1, 0], [1, float("nan")]]}}}, "2 finite numbers"),
        ({"zones": {"a": {"points": SQUARE, "dwell_s": -1}}}, "dwell_s is -1; expected"),
        ({"zones": {"a": {"points": SQUARE, "dwel_s": 3}}}, "'dwel_s'; expected the settings"),
        ({"lines": {"a": {"points": SQUARE}}}, "2 points"),
        ({"lines": {"a": {"points": [[0.5, 0.5], [0.5, 0.5]]}}}, "two different ends"),
        (
            {"zones": {"a": {"points": SQUARE}}, "lines": {"a": {"points": [[0, 0], [1, 1]]}}},
            "two areas are named 'a'",
        ),
    ],
)
def test_invalid_areas_are_rejected(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="camera door") as error:
        read(**tables)
    assert message in str(error.value)


def test_points_in_a_concave_zone() -> None:
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.3), (0.0, 1.0))
    points = np.array([[0.5, 0.2], [0.5, 0.6], [0.1, 0.6], [0.9, 0.6], [1.2, 0.2], [0.5, -0.1]])
    inside = Zone(name="v", points=corners).contains(points)
    assert inside.tolist() == [True, False, True, True, False, False]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3), st.booleans())
def test_first_corner_and_direction_do_not_matter(
    x: float, y: float, first: int, is_reversed: bool
) -> None:
    corners = [(0.2, 0.1), (0.9, 0.3), (0.7, 0.8), (0.1, 0.6)]
    turned = corners[first:] + corners[:first]
    turned = turned[::-1] if is_reversed else turned
    point = np.array([[x, y]])
    zones = [Zone(name="a", points=tuple(one)) for one in (corners, turned)]
    assert zones[0].contains(point) == zones[1].contains(point)
