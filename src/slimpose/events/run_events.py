"""The events of all cameras of a run, and the outputs they go to."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimpose.arrays import Size
from slimpose.events.camera_events import CameraEvents
from slimpose.events.event import Event, Posture
from slimpose.events.json_lines import EventFile
from slimpose.events.outputs import CameraSummary, EventOutput
from slimpose.events.settings import EventSettings, read_event_settings
from slimpose.events.webhooks import Webhook
from slimpose.media.camera_file import CameraSettings
from slimpose.runtime.frame_result import FrameResult

_RECENT = 50
_STATE_S = 0.5
"""States are handed to the outputs at most this often."""


def event_settings(
    cameras: Sequence[CameraSettings],
    *,
    camera_file: Path | None,
    event_file: Path | None,
    have_ids: bool,
) -> EventSettings:
    """Return where the events of a run are sent; nothing is opened yet.

    Args:
        cameras: The cameras of the run.
        camera_file: Its tables ``mqtt`` and ``webhooks`` are read; None for neither.
        event_file: File for the events as JSON lines; None for none.
        have_ids: Whether people are tracked.

    Raises:
        ValueError: If the tables are invalid, if events are to be written or posted and no camera
            has any, or if one has and people get no ids.
        ModuleNotFoundError: If there is a broker and ``paho-mqtt`` is not installed.
    """
    settings = EventSettings() if camera_file is None else read_event_settings(camera_file)
    if settings.mqtt is not None:
        import slimpose.events.mqtt  # noqa: F401 (fails before the work)
    with_events = [one.address.name for one in cameras if one.areas or one.postures]
    if with_events and not have_ids:
        raise ValueError(
            f"camera {with_events[0]} has zones, lines or postures, which need the ids of people; "
            "expected no --no-track"
        )
    if not with_events:
        asked = f"--events {event_file}" if event_file is not None else ""
        asked = asked or (f"webhooks in {camera_file}" if settings.webhooks else "")
        if asked:
            raise ValueError(
                f"{asked}: no camera has events; expected zones, lines or postures = true of a "
                "camera in the file of --cameras"
            )
    return dataclasses.replace(settings, file=event_file)


def open_run_events(
    cameras: Sequence[CameraSettings],
    settings: EventSettings,
    *,
    by_clock: Sequence[bool] | None = None,
) -> RunEvents:
    """Return what finds the events of a run, with its outputs; broker and addresses may be away.

    Raises:
        RuntimeError: If the file cannot be written.
    """
    outputs: list[EventOutput] = []
    if settings.file is not None:
        outputs.append(EventFile(settings.file))
    if settings.mqtt is not None:
        from slimpose.events.mqtt import Mqtt  # needs an extra

        names = [camera.address.name for camera in cameras]
        outputs.append(Mqtt(settings.mqtt, names=names, areas=[one.areas for one in cameras]))
    outputs += [Webhook(webhook) for webhook in settings.webhooks]
    return RunEvents(cameras, outputs, by_clock=by_clock)


class RunEvents:
    """Finds the events of all cameras and sends them.

    Args:
        cameras: Their names, zones and lines.
        outputs: Where events and states go.
        by_clock: Whether the times of each camera are the clock's; those of a video file whose
            every frame is processed are the video's. By default all are.
    """

    def __init__(
        self,
        cameras: Sequence[CameraSettings],
        outputs: Sequence[EventOutput] = (),
        *,
        by_clock: Sequence[bool] | None = None,
    ) -> None:
        self._cameras = [
            CameraEvents(camera.address.name, camera.areas, postures=camera.postures)
            for camera in cameras
        ]
        self._by_clock = [True] * len(cameras) if by_clock is None else list(by_clock)
        self._outputs, self._updated_s = outputs, float("-inf")
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._kinds: Counter[str] = Counter()

    def add(self, results: Sequence[FrameResult]) -> None:
        """Find and send the events of new frames."""
        for result in results:
            size = Size(*result.image.shape[:2])
            self._send(self._cameras[result.camera].update(result.poses, result.timestamp_s, size))

    def update(self, *, is_live: Sequence[bool], people: Sequence[int], time_s: float) -> None:
        """Send the states of all cameras, at most every half second; people of dead ones leave.

        Args:
            is_live: Whether each camera's frames arrive.
            people: Number of people in its newest frame.
            time_s: Now, by the clock of the frames.
        """
        if time_s - self._updated_s < _STATE_S:
            return
        self._updated_s = time_s
        for camera, is_by_clock in zip(self._cameras, self._by_clock, strict=True):
            if is_by_clock:
                self._send(camera.advance(time_s))
        summaries = [
            CameraSummary(is_live=live, people=count, counts=camera.counts())
            for live, count, camera in zip(is_live, people, self._cameras, strict=True)
        ]
        for output in self._outputs:
            output.update(summaries)

    def counts(self, camera: int) -> dict[str, dict[str, Any]]:
        """Return the counts of a camera's zones and lines by name."""
        return self._cameras[camera].counts()

    def postures(self, camera: int) -> dict[int, Posture]:
        """Return the known postures of a camera's people by their ids."""
        return self._cameras[camera].postures()

    def recent(self) -> list[dict[str, Any]]:
        """Return the newest events for the page, the last one first."""
        return [
            {"time_s": round(event.time_s, 3), "kind": event.kind, "text": event.text}
            for event in reversed(tuple(self._recent))
        ]

    def kinds(self) -> Mapping[str, int]:
        """Return the number of events of each kind."""
        return dict(self._kinds)

    def outputs(self) -> Mapping[str, int]:
        """Return how many events the outputs have sent, dropped, or keep waiting."""
        totals: Counter[str] = Counter()
        for output in self._outputs:
            totals.update(output.counts())
        return totals

    def summary(self) -> list[str]:
        """Return a line about the events and one about the outputs; none without either."""
        events = [f"{count} {kind}" for kind, count in sorted(self._kinds.items())]
        outputs = [f"{name.replace('_', ' ')} {count}" for name, count in self.outputs().items()]
        return [
            f"{name}: {', '.join(parts)}"
            for name, parts in (("events", events), ("sent to", outputs))
            if parts
        ]

    def close(self) -> None:
        """Send what is waiting, for a few seconds at most, and close the outputs."""
        for output in self._outputs:
            output.close()

    def _send(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._recent.extend(event for event in events if event.kind != "count")
        self._kinds.update(event.kind for event in events)
        for output in self._outputs:
            output.send(events)
