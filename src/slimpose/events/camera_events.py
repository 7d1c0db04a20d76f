"""Events of one camera: who is in which zone, who crossed which line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from slimpose.areas import Area, Line, Zone
from slimpose.arrays import Size
from slimpose.events.event import Event, Posture
from slimpose.events.posture import MIN_JOINT_SCORE, ROUNDING_S, PostureWatch
from slimpose.poses import NOT_TRACKED, Poses

_CONFIRM_S = 0.3 - ROUNDING_S
"""A person must be in or out of a zone for this long and in two frames, until it counts."""
_LOST_S = 2.0 + ROUNDING_S
"""After this time without being seen a person has left."""
_LINE_MARGIN = 0.04
"""Share of a person's height that they must be beyond a line."""


@dataclass(slots=True)
class _Presence:
    """A person and a zone: whether they count as in it, and since when it looks otherwise."""

    is_inside: bool = False
    since_s: float = 0.0
    differs_since_s: float | None = None
    has_dwelled: bool = False


@dataclass(slots=True)
class _Person:
    seen_s: float
    zones: dict[str, _Presence] = field(default_factory=dict)
    sides: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)


class CameraEvents:
    """Finds the events of one camera; people need track ids.

    A person is where their feet are: the middle of the ankles, or of the lower edge of the box
    where no ankle is visible. Feet beyond the image's edge are at the edge: zones and lines end
    there.

    Args:
        name: The camera's name.
        areas: Its zones and lines.
        postures: Whether there are events of postures.
    """

    def __init__(self, name: str, areas: Sequence[Area], *, postures: bool = False) -> None:
        self._name = name
        self._zones = [area for area in areas if isinstance(area, Zone)]
        self._lines = [area for area in areas if isinstance(area, Line)]
        self._people: dict[int, _Person] = {}
        self._counts = {zone.name: 0 for zone in self._zones}
        self._crossings = {line.name: {"in": 0, "out": 0} for line in self._lines}
        self._postures = PostureWatch() if postures else None

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return the people in each zone and the crossings of each line so far, by name."""
        zones: dict[str, dict[str, Any]] = {
            name: {"people": count} for name, count in self._counts.items()
        }
        return zones | {name: dict(counts) for name, counts in self._crossings.items()}

    def postures(self) -> dict[int, Posture]:
        """Return the posture of each person by id, without the unknown ones."""
        watch = self._postures
        if watch is None:
            return {}
        people: dict[int, Posture] = {track: watch.current(track) for track in list(self._people)}
        return {track: posture for track, posture in people.items() if posture != "unknown"}

    def update(self, poses: Poses, time_s: float, size: Size) -> list[Event]:
        """Return the events of a frame; ``size`` is the image's, times must not decrease."""
        tracked = poses[poses.ids != NOT_TRACKED]
        feet_px = np.clip(_feet(tracked), 0, (size.width - 1, size.height - 1))
        shares = (feet_px + 0.5) / np.array([size.width, size.height], np.float64)
        inside = {zone.name: zone.contains(shares) for zone in self._zones}
        events: list[Event] = []
        for row, track in enumerate(tracked.ids.tolist()):
            person = self._people.setdefault(track, _Person(time_s))
            person.seen_s = time_s
            for zone in self._zones:
                is_inside = bool(inside[zone.name][row])
                events += self._enter_or_leave(zone, track, person, is_inside, time_s)
            box = tracked.boxes_image[row]
            for line in self._lines:
                margin_px = _LINE_MARGIN * float(box[3] - box[1])
                events += self._cross(line, track, person, feet_px[row], margin_px, size, time_s)
        events += self._lose(time_s)
        events += self._count(time_s)
        if self._postures is not None:
            events += [
                self._event("posture", time_s, track_id=track, posture=posture)
                for track, posture in self._postures.update(tracked, time_s)
            ]
        return events

    def advance(self, time_s: float) -> list[Event]:
        """Return the events of time passing without a frame: people that are not seen leave."""
        return [*self._lose(time_s), *self._count(time_s)]

    def _event(self, kind: Any, time_s: float, **values: Any) -> Event:
        return Event(kind=kind, camera=self._name, time_s=time_s, **values)

    def _enter_or_leave(
        self, zone: Zone, track: int, person: _Person, is_inside: bool, time_s: float
    ) -> Iterator[Event]:
        presence = person.zones.setdefault(zone.name, _Presence())
        if is_inside == presence.is_inside:
            presence.differs_since_s = None
        elif presence.differs_since_s is None:
            presence.differs_since_s = time_s
        elif time_s - presence.differs_since_s >= _CONFIRM_S:
            changed_s = presence.differs_since_s
            if is_inside:
                yield self._event("enter", changed_s, area=zone.name, track_id=track)
            else:
                yield self._leave(zone.name, track, presence, changed_s)
            person.zones[zone.name] = presence = _Presence(is_inside, changed_s)
        stayed_s = time_s - presence.since_s
        if (
            presence.is_inside
            and zone.dwell_s is not None
            and not presence.has_dwelled
            and stayed_s >= zone.dwell_s - ROUNDING_S
        ):
            presence.has_dwelled = True
            yield self._event("dwell", time_s, area=zone.name, track_id=track, seconds=stayed_s)

    def _leave(self, zone: str, track: int, presence: _Presence, time_s: float) -> Event:
        seconds = max(0.0, time_s - presence.since_s)
        return self._event("leave", time_s, area=zone, track_id=track, seconds=seconds)

    def _cross(
        self,
        line: Line,
        track: int,
        person: _Person,
        feet_px: np.ndarray,
        margin_px: float,
        size: Size,
        time_s: float,
    ) -> Iterator[Event]:
        scale = np.array([size.width, size.height], np.float64)
        start, end = np.array(line.start) * scale - 0.5, np.array(line.end) * scale - 0.5
        distance_px = _cross_product(end - start, feet_px - start) / np.hypot(*(end - start))
        if abs(distance_px) < margin_px:
            return
        side = 1 if distance_px > 0 else -1
        before = person.sides.get(line.name)
        person.sides[line.name] = side, feet_px
        if before is None or before[0] == side or not _meets(before[1], feet_px, start, end):
            return
        direction: Literal["in", "out"] = "in" if side > 0 else "out"
        self._crossings[line.name][direction] += 1
        yield self._event("line", time_s, area=line.name, track_id=track, direction=direction)

    def _lose(self, time_s: float) -> Iterator[Event]:
        """Drop people who were not seen for a while; they have left their zones."""
        lost = [track for track, person in self._people.items() if time_s - person.seen_s > _LOST_S]
        for track in lost:
            person = self._people.pop(track)
            for zone, presence in person.zones.items():
                if presence.is_inside:
                    yield self._leave(zone, track, presence, person.seen_s)

    def _count(self, time_s: float) -> Iterator[Event]:
        for zone in self._zones:
            count = sum(
                person.zones[zone.name].is_inside
                for person in self._people.values()
                if zone.name in person.zones
            )
            if count != self._counts[zone.name]:
                self._counts[zone.name] = count
                yield self._event("count", time_s, area=zone.name, people=count)


def _feet(poses: Poses) -> np.ndarray:
    """Return where each person stands (n, 2), in image pixels."""
    joints = poses.skeleton.joints
    ankles = [joints.index(name) for name in ("left_ankle", "right_ankle") if name in joints]
    boxes = poses.boxes_image.astype(np.float64)
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    for row in range(len(poses)):
        shown = [ankle for ankle in ankles if poses.scores[row, ankle] >= MIN_JOINT_SCORE]
        if shown:
            feet[row] = poses.points_image[row, shown].mean(axis=0)
    return feet


def _cross_product(a: np.ndarray, b: np.ndarray) -> float:
    """Positive if ``b`` points to the right of ``a``, with y downward."""
    return float(a[0] * b[1] - a[1] * b[0])


def _meets(a: np.ndarray, b: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    """Return whether the way from ``a`` to ``b`` meets the line, given that they are apart."""
    first = _cross_product(b - a, start - a)
    second = _cross_product(b - a, end - a)
    return first * second <= 0
