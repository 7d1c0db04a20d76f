"""Statistics of a live run: for the table refreshed on a terminal and for the final summary."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence

from rich.table import Table

from slimpose.cli.counted import counted
from slimpose.media.stream import StreamStatus
from slimpose.runtime.frame_result import FrameResult
from slimpose.runtime.timing import Durations, StageTimes

_FPS_WINDOW_S = 5.0


class LiveStats:
    """Counts frames, people and times; its memory is bounded however long the run lasts.

    Attributes:
        poses: Number of poses in all processed frames.
        stages: The time of each stage.
    """

    def __init__(self, cameras: int) -> None:
        self._started_s = time.monotonic()
        self._frame_times_s: list[deque[float]] = [deque(maxlen=1024) for _ in range(cameras)]
        self._people = [0] * cameras
        self._frames = [0] * cameras
        self._latency = [Durations() for _ in range(cameras)]
        self.poses = 0
        self.stages = StageTimes()

    @property
    def frames(self) -> int:
        """Number of processed frames."""
        return sum(self._frames)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started_s

    def add(self, batch: Sequence[FrameResult], stages_ms: Mapping[str, float]) -> None:
        """Add a batch and the times of its stages."""
        now_s = time.monotonic()
        self.stages.add_all(stages_ms)
        for result in batch:
            camera = result.camera
            self._frame_times_s[camera].append(now_s)
            self._frames[camera] += 1
            self._people[camera] = len(result.poses)
            self._latency[camera].add(result.latency_ms)
            self.poses += len(result.poses)

    def fps(self, camera: int) -> float:
        """Return the processed frames per second of a camera over the last five seconds."""
        now_s = time.monotonic()
        window_s = min(_FPS_WINDOW_S, max(0.5, now_s - self._started_s))
        times_s = self._frame_times_s[camera]
        while times_s and now_s - times_s[0] > window_s:
            times_s.popleft()
        return len(times_s) / window_s

    def people(self, camera: int) -> int:
        """Return the number of people in a camera's newest frame."""
        return self._people[camera]

    def frames_of(self, camera: int) -> int:
        """Return the number of processed frames of a camera."""
        return self._frames[camera]

    def latency(self, camera: int) -> Durations:
        """Return the latencies of a camera's frames."""
        return self._latency[camera]

    def table(self, statuses: Sequence[StreamStatus]) -> Table:
        """Return the table for a terminal, one row per camera."""
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
                status.text,
                f"{self.fps(camera):.1f}",
                str(self.people_now(camera, status)),
                f"{latency.percentile(50):.0f} ms",
                f"{latency.percentile(95):.0f} ms",
                str(status.dropped),
            )
        return table

    def line(self, statuses: Sequence[StreamStatus]) -> str:
        """Return the content of the table in one line, for logs."""
        cameras = [
            f"[{camera}] {status.state} {self.fps(camera):.1f} fps, "
            f"people: {self.people_now(camera, status)}, {self._latency_text(camera)}, "
            f"dropped {status.dropped}"
            for camera, status in enumerate(statuses)
        ]
        return f"{self.seconds:.0f} s: {'; '.join(cameras)}"

    def decode_line(self, statuses: Sequence[StreamStatus]) -> str:
        """Return the cost of reading and decoding, which the threads of the sources do."""
        cameras = (
            f"[{camera}] {status.decode_ms / max(1, status.received):.1f}"
            for camera, status in enumerate(statuses)
        )
        return f"CPU ms per frame to read and decode, in parallel: {', '.join(cameras)}"

    def summary(self, statuses: Sequence[StreamStatus], *, detections: int) -> list[str]:
        """Return the lines of the final summary."""
        seconds = max(1e-9, self.seconds)
        lines = [
            f"{counted(self.frames, 'frame')} of {counted(len(statuses), 'source')} in "
            f"{seconds:.1f} s ({self.frames / seconds:.1f} per second), "
            f"{counted(self.poses, 'pose')}, detector ran on {counted(detections, 'frame')}"
        ]
        for camera, status in enumerate(statuses):
            line = (
                f"[{camera}] {status.name}: {self._frames[camera]} processed, "
                f"{status.dropped} dropped"
            )
            if status.damaged:
                line += f", {status.damaged} damaged"
            if status.connections > 1:
                line += f", opened {status.connections} times"
            if self._frames[camera]:
                line += f", {self._latency_text(camera)}"
            elif status.problem:
                line += f": {status.problem}"
            lines.append(line)
        if self.frames:
            lines.append(f"median ms per batch: {self.stages.medians()}")
        return lines

    def people_now(self, camera: int, status: StreamStatus) -> int:
        """Return the number of people in a camera's newest frame; 0 unless it is live."""
        return self._people[camera] if status.state == "live" else 0

    def _latency_text(self, camera: int) -> str:
        latency = self._latency[camera]
        return f"latency p50 {latency.percentile(50):.0f} p95 {latency.percentile(95):.0f} ms"


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
