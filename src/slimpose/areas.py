"""Zones and lines in the image of a camera, as ``cameras.toml`` has them.

    [cameras.door.zones.counter]
    points = [[0.1, 0.5], [0.6, 0.5], [0.6, 1.0], [0.1, 1.0]]
    dwell_s = 30

    [cameras.door.lines.entrance]
    points = [[0.2, 0.8], [0.8, 0.8]]

Coordinates are shares of the image's width and height, so they hold for every resolution.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from slimpose import fields
from slimpose.fields import Fields

_NAME = re.compile(r"\w[\w -]{0,38}\w|\w")
_MAX_CORNERS = 64

Point = tuple[float, float]
Points = Float64[np.ndarray, "n 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A polygon that people are in or not.

    Attributes:
        name: Its name, unique in its camera.
        points: Its corners.
        dwell_s: After being in it this long, a person dwells there; None for no such event.
    """

    name: str
    points: tuple[Point, ...]
    dwell_s: float | None = None

    def contains(self, points: Points) -> Bool[np.ndarray, " n"]:
        """Return which points are in the zone (by the even-odd rule).

        >>> zone = Zone(name="left", points=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
        >>> zone.contains(np.array([[0.2, 0.5], [0.7, 0.5]])).tolist()
        [True, False]
        """
        corners = np.array(self.points, np.float64)
        inside = np.zeros(len(points), bool)
        x, y = points[:, 0], points[:, 1]
        for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y1 == y2:
                continue
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        return inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that people cross: in to the right of its direction, out to the left.

    Attributes:
        name: Its name, unique in its camera.
        start: Its first end.
        end: Its second end.
    """

    name: str
    start: Point
    end: Point


Area = Zone | Line


def read_areas(camera: Fields) -> tuple[Area, ...]:
    """Return the zones and lines of a camera's table; none where it has none.

    Raises:
        ValueError: If one is invalid, or two have the same name.
    """
    areas: list[Area] = []
    for kind in ("zones", "lines"):
        if not camera.has(kind):
            continue
        tables = fields.table(camera.get(kind), camera.what(kind), f"tables [....{kind}.NAME]")
        for name, value in tables.values.items():
            if not _NAME.fullmatch(name):
                raise fields.fail(
                    tables.where,
                    name,
                    "names of at most 40 letters, digits, spaces, - and _ between them",
                )
            table = fields.table(value, f"{tables.where}.{name}")
            areas.append(_read_zone(name, table) if kind == "zones" else _read_line(name, table))
    names = [area.name for area in areas]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{camera.where}: two areas are named {name!r}; expected different names"
            )
    return tuple(areas)


def _read_zone(name: str, table: Fields) -> Zone:
    _check_settings(table, "points", "dwell_s")
    points = _read_points(table, fewest=3, most=_MAX_CORNERS)
    if abs(_signed_area(points)) < 1e-6:
        raise fields.fail(table.what("points"), list(points), "corners that enclose an area")
    dwell_s = table.number("dwell_s", low=0.0) if table.has("dwell_s") else None
    return Zone(name=name, points=points, dwell_s=dwell_s)


def _read_line(name: str, table: Fields) -> Line:
    _check_settings(table, "points")
    start, end = _read_points(table, fewest=2, most=2)
    if math.dist(start, end) < 1e-3:
        raise fields.fail(table.what("points"), [start, end], "two different ends")
    return Line(name=name, start=start, end=end)


def _check_settings(table: Fields, *known: str) -> None:
    if unknown := [name for name in table.values if name not in known]:
        raise fields.fail(table.where, unknown[0], f"the settings {', '.join(known)}")


def _read_points(table: Fields, *, fewest: int, most: int) -> tuple[Point, ...]:
    values = table.items("points")
    if not fewest <= len(values) <= most:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise fields.fail(table.what("points"), values, f"{count} points [x, y]")
    points: list[Point] = []
    for number, value in enumerate(values):
        what = f"{table.what('points')}[{number}]"
        pair = fields.numbers(value, what, count=2, expected="x, y as shares 0..1 of the image")
        if not ((pair >= 0) & (pair <= 1)).all():
            raise fields.fail(what, value, "x, y as shares 0..1 of the image (are they pixels?)")
        points.append((float(value[0]), float(value[1])))
    return tuple(points)


def _signed_area(points: tuple[Point, ...]) -> float:
    following = (*points[1:], points[0])
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True)) / 2
