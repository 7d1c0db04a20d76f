"""How a live run is doing: for the line that is refreshed, and for the summary at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence

from rich.table import Table

from slimpose.media.stream import StreamStatus
from slimpose.runtime.multi_camera import Seen
from slimpose.runtime.timing import Durations, StageTimes

_WINDOW_S = 5.0


class LiveStats:
    """Counts what is seen; bounded however long it lasts.

    Attributes:
        frames: Pictures that were looked at.
        poses: People on them.
        stages: The time of every stage.
    """

    def __init__(self, cameras: int) -> None:
        self._started_s = time.monotonic()
        self._seen_s: list[deque[float]] = [deque(maxlen=1024) for _ in range(cameras)]
        self._people = [0] * cameras
        self._frames = [0] * cameras
        self._latency = [Durations() for _ in range(cameras)]
        self.poses = 0
        self.stages = StageTimes()

    @property
    def frames(self) -> int:
        """Pictures that were looked at."""
        return sum(self._frames)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started_s

    def count(self, batch: Sequence[Seen], stages_ms: Iterable[tuple[str, float]]) -> None:
        """Count a batch and the time of its stages."""
        now_s = time.monotonic()
        for stage, ms in stages_ms:
            self.stages.add(stage, ms)
        for seen in batch:
            self._seen_s[seen.camera].append(now_s)
            self._frames[seen.camera] += 1
            self._people[seen.camera] = len(seen.poses)
            self._latency[seen.camera].add(seen.latency_ms)
            self.poses += len(seen.poses)

    def fps(self, camera: int) -> float:
        """Pictures of a camera looked at, a second, over the last five."""
        now_s = time.monotonic()
        window_s = min(_WINDOW_S, max(0.5, now_s - self._started_s))
        times = self._seen_s[camera]
        while times and now_s - times[0] > window_s:
            times.popleft()
        return len(times) / window_s

    def table(self, statuses: Sequence[StreamStatus]) -> Table:
        """Return what is refreshed on a terminal: a row a camera."""
        table = Table("", box=None, pad_edge=False)
        for column in ("source", "state"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for column in ("fps", "people", "latency p50", "p95", "dropped"):
            table.add_column(column, justify="right")
        for camera, status in enumerate(statuses):
            latency = self._latency[camera]
            table.add_row(
                str(camera),
                status.name,
                f"{status.state}{f': {status.problem}' if status.problem else ''}",
                f"{self.fps(camera):.1f}",
                str(self._now(camera, status)),
                f"{latency.percentile(50):.0f} ms",
                f"{latency.percentile(95):.0f} ms",
                str(status.dropped),
            )
        return table

    def line(self, statuses: Sequence[StreamStatus]) -> str:
        """Return the same in one line, for logs."""
        parts: list[str] = []
        for camera, (status, latency) in enumerate(zip(statuses, self._latency, strict=True)):
            parts.append(
                f"[{camera}] {status.state} {self.fps(camera):.1f} fps, {self._now(camera, status)} people, latency "
                f"p50 {latency.percentile(50):.0f} p95 {latency.percentile(95):.0f} ms, dropped {status.dropped}"
            )
        return f"{self.seconds:.0f} s: {'; '.join(parts)}"

    def as_dict(self, statuses: Sequence[StreamStatus]) -> str:
        """Return what reading and decoding cost in the sources' own threads."""
        each = (
            f"[{n}] {one.decode_ms / max(1, one.received):.1f}" for n, one in enumerate(statuses)
        )
        return f"CPU ms a picture to read and decode, beside the rest: {', '.join(each)}"

    def _now(self, camera: int, status: StreamStatus) -> int:
        """How many people a camera sees, as far as it sees anything."""
        return self._people[camera] if status.state == "live" else 0

    def summary(self, statuses: Sequence[StreamStatus], *, detections: int) -> list[str]:
        """Return the lines at the end."""
        seconds = max(1e-9, self.seconds)
        head = (
            f"{self.frames} frames of {len(statuses)} source{'s' * (len(statuses) != 1)} in {seconds:.1f} s "
            f"({self.frames / seconds:.1f} a second), {self.poses} poses, detector looked at {detections} frames"
        )
        lines = [head]
        for camera, status in enumerate(statuses):
            latency = self._latency[camera]
            words = (
                f"[{camera}] {status.name}: {self._frames[camera]} seen, {status.dropped} dropped"
            )
            if status.damaged:
                words += f", {status.damaged} damaged"
            if status.connections > 1:
                words += f", opened {status.connections} times"
            if self._frames[camera]:
                words += f", latency p50 {latency.percentile(50):.0f} p95 {latency.percentile(95):.0f} ms"
            elif status.problem:
                words += f": {status.problem}"
            lines.append(words)
        if self.frames:
            lines.append(f"median ms a batch: {self.stages.medians()}")
        return lines


def stage_table(stages: StageTimes, seconds: float) -> Table:
    """Return a table of the time of each stage; shares are of a run of this many seconds."""
    table = Table("stage", title="Where the time went", title_justify="left")
    for column in ("passes", "median ms", "p95 ms", "mean ms", "total s", "of the run"):
        table.add_column(column, justify="right")
    for stage, durations in stages.stages.items():
        table.add_row(
            stage,
            f"{durations.count}",
            f"{durations.percentile(50):.1f}",
            f"{durations.percentile(95):.1f}",
            f"{durations.mean_ms:.1f}",
            f"{durations.total_ms / 1e3:.2f}",
            f"{durations.total_ms / max(1e-9, 10 * seconds):.0f} %",
        )
    return table
