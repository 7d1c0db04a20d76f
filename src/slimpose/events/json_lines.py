"""Events as JSON lines in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from slimpose.events.event import Event
from slimpose.events.outputs import CameraSummary
from slimpose.formats.partial_file import PartialFile


class EventFile:
    """An ``EventOutput`` that writes each event as a line of JSON.

    During the run the file is named NAME.partial.SUFFIX; it is complete up to the last event at any
    time.

    Raises:
        RuntimeError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = PartialFile(path)
        self._written = 0

    def send(self, events: Sequence[Event]) -> None:
        """Write events."""
        for event in events:
            self._file.append(json.dumps(event.document()).encode() + b"\n")
            self._written += 1

    def update(self, cameras: Sequence[CameraSummary]) -> None:
        """Do nothing: states are not written."""

    def counts(self) -> Mapping[str, int]:
        """Return how many events were written."""
        return {"file_written": self._written}

    def close(self) -> None:
        """Rename the file to its final name."""
        self._file.finish()
