"""The events of all cameras of a run, and the outputs they go to."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimpose.areas import Area
from slimpose.arrays import Size
from slimpose.events.camera_events import CameraEvents
from slimpose.events.event import Event
from slimpose.events.json_lines import EventFile
from slimpose.events.outputs import CameraSummary, EventOutput
from slimpose.events.settings import EventSettings
from slimpose.events.webhooks import Webhook
from slimpose.media.camera_file import CameraSettings
from slimpose.runtime.frame_result import FrameResult

_RECENT = 50


def open_outputs(
    settings: EventSettings,
    file: Path | None,
    *,
    names: Sequence[str],
    areas: Sequence[Sequence[Area]],
) -> list[EventOutput]:
    """Open the outputs of events; broker and addresses may be away.

    Raises:
        ModuleNotFoundError: If there is a broker and ``paho-mqtt`` is not installed.
        RuntimeError: If the file cannot be written.
    """
    outputs: list[EventOutput] = []
    if file is not None:
        outputs.append(EventFile(file))
    if settings.mqtt is not None:
        from slimpose.events.mqtt import Mqtt  # needs an extra

        outputs.append(Mqtt(settings.mqtt, names=names, areas=areas))
    return [*outputs, *(Webhook(webhook) for webhook in settings.webhooks)]


class RunEvents:
    """Finds the events of all cameras and sends them.

    Args:
        cameras: Their names, zones and lines.
        outputs: Where events and states go.
    """

    def __init__(
        self, cameras: Sequence[CameraSettings], outputs: Sequence[EventOutput] = ()
    ) -> None:
        self._cameras = [
            CameraEvents(camera.address.name, camera.areas, postures=camera.postures)
            for camera in cameras
        ]
        self._outputs = outputs
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._kinds: Counter[str] = Counter()

    def add(self, results: Sequence[FrameResult]) -> None:
        """Find and send the events of new frames."""
        for result in results:
            size = Size(*result.image.shape[:2])
            self._send(self._cameras[result.camera].update(result.poses, result.timestamp_s, size))

    def advance(self, time_s: float) -> None:
        """Find and send the events of time passing: people of dead cameras leave."""
        for camera in self._cameras:
            self._send(camera.advance(time_s))

    def update(self, cameras: Sequence[CameraSummary]) -> None:
        """Send the states of all cameras."""
        for output in self._outputs:
            output.update(cameras)

    def counts(self, camera: int) -> dict[str, dict[str, Any]]:
        """Return the counts of a camera's zones and lines by name."""
        return self._cameras[camera].counts()

    def recent(self) -> list[dict[str, Any]]:
        """Return the newest events for the page, the last one first."""
        return [
            {"time_s": round(event.time_s, 3), "kind": event.kind, "text": event.text}
            for event in reversed(tuple(self._recent))
        ]

    def totals(self) -> Mapping[str, int]:
        """Return the number of events by kind, and those of each output by what became of them."""
        totals: Counter[str] = Counter(self._kinds)
        for output in self._outputs:
            totals.update(output.counts())
        return totals

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
