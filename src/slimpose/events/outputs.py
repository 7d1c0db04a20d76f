"""``EventOutput``: where events and states go; a slow one never holds up the cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from slimpose.events.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSummary:
    """What is true of a camera now, as outputs with states publish it.

    Attributes:
        is_live: Whether frames arrive.
        people: Number of people in the newest frame.
        counts: Of its zones and lines by name, as in ``CameraEvents.counts``.
    """

    is_live: bool
    people: int
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@runtime_checkable
class EventOutput(Protocol):
    """One output. All methods return at once, whatever the other side does."""

    def send(self, events: Sequence[Event]) -> None:
        """Accept events in the order of time."""
        ...

    def update(self, cameras: Sequence[CameraSummary]) -> None:
        """Accept the newest states of all cameras."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Return how many events were sent, dropped, or are waiting."""
        ...

    def close(self) -> None:
        """Send what is waiting, for at most a few seconds, and end."""
        ...
