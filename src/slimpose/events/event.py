"""``Event``: something that a person did, or a number of people that changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["enter", "leave", "dwell", "count", "line", "posture"]
KINDS: tuple[str, ...] = get_args(Kind)
Posture = Literal["standing", "sitting", "lying", "unknown"]
Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event; what does not belong to its kind is None.

    Attributes:
        kind: enter and leave (a person and a zone), dwell (a person has been in a zone for its
            ``dwell_s``), count (the number of people in a zone changed), line (a person crossed a
            line), posture (a person's posture changed).
        camera: The camera's name.
        time_s: When, in seconds since 1970.
        area: Name of the zone or line.
        track_id: The person.
        people: Number of people in the zone.
        direction: How the line was crossed.
        seconds: How long the person was in the zone.
        posture: The new posture.
    """

    kind: Kind
    camera: str
    time_s: float
    area: str | None = None
    track_id: int | None = None
    people: int | None = None
    direction: Direction | None = None
    seconds: float | None = None
    posture: Posture | None = None

    @property
    def text(self) -> str:
        """Return it as a sentence for people."""
        who = f"person {self.track_id}"
        what = {
            "enter": f"{who} entered {self.area}",
            "leave": f"{who} left {self.area} after {self.seconds or 0:.0f} s",
            "dwell": f"{who} has been in {self.area} for {self.seconds or 0:.0f} s",
            "count": f"{self.people} in {self.area}",
            "line": f"{who} crossed {self.area} ({self.direction})",
            "posture": f"{who} is {self.posture}",
        }[self.kind]
        return f"{self.camera}: {what}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON, without what is None."""
        values = {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        values["time_s"] = round(self.time_s, 3)
        if self.seconds is not None:
            values["seconds"] = round(self.seconds, 3)
        return values
