"""The state of cameras on a terminal or in a log, while they are processed."""

from __future__ import annotations

import time

from rich.live import Live

from slimpose.cli.console import plain_console
from slimpose.cli.live_stats import LiveStats
from slimpose.runtime.multi_camera import CameraGroup

_REFRESH_S = 0.5
_LOG_LINE_S = 60.0


class LiveDisplay:
    """Prints messages, and the state of the cameras: a table on a terminal, else lines for logs."""

    def __init__(self, cameras: CameraGroup, stats: LiveStats) -> None:
        self._cameras, self._stats = cameras, stats
        self._console = plain_console(stderr=True)
        self._table = (
            Live(console=self._console, auto_refresh=False, transient=True)
            if self._console.is_terminal
            else None
        )
        self._shown_s = time.monotonic()

    def __enter__(self) -> LiveDisplay:
        if self._table is not None:
            self._table.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            self._table.stop()
        self._print_notices()

    def update(self) -> None:
        """Print new messages, and the state of the cameras when it is time to."""
        self._print_notices()
        interval_s = _LOG_LINE_S if self._table is None else _REFRESH_S
        now_s = time.monotonic()
        if now_s - self._shown_s < interval_s:
            return
        self._shown_s = now_s
        statuses = self._cameras.statuses()
        if self._table is not None:
            self._table.update(self._stats.table(statuses), refresh=True)
        else:
            self._console.print(f"slimpose: {self._stats.line(statuses)}")

    def _print_notices(self) -> None:
        for notice in self._cameras.notices():
            self._console.print(f"slimpose: [{notice.camera}] {notice.name}: {notice.message}")
