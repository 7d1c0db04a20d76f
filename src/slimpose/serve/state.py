"""What the page shows of the cameras besides their frames, and what it may change."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from slimpose import fields
from slimpose.runtime.frame_result import FrameResult

BUCKET_S = 10.0
"""Each entry of the history covers this time."""
_BUCKETS = 360


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """The state of a camera, as the page, the metrics and ``/api/state`` show it.

    Attributes:
        name: Its redacted address.
        state: connecting, live, waiting, ended, or off where it is switched off on the page.
        problem: What is wrong with it; empty if nothing is.
        fps: Processed frames per second over the last seconds.
        people: Number of people in the newest frame; 0 unless it is live.
        latency_p50_ms: Median of the time from a frame's arrival until its poses are ready.
        latency_p95_ms: Its 95th percentile.
        frames: Number of frames processed so far.
        dropped: Number of frames that a newer one replaced.
        damaged: Number of frames that could not be decoded.
        connections: How often it was opened.
    """

    name: str
    state: str
    problem: str
    fps: float
    people: int
    latency_p50_ms: float
    latency_p95_ms: float
    frames: int
    dropped: int
    damaged: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What viewers may change while cameras run; for all of them, until the server ends.

    Attributes:
        score_threshold: Minimum score 0..1 of a person box.
        smooth: Whether keypoints are smoothed over time.
        enabled: Whether each camera is processed.
    """

    score_threshold: float
    smooth: bool
    enabled: tuple[bool, ...]

    def changed(self, values: object) -> Settings:
        """Return the settings with the values of a JSON object that has some of the fields.

        Raises:
            ValueError: If a field is unknown or has an invalid value.
        """
        entry = fields.table(values, "settings")
        known = ("score_threshold", "smooth", "enabled")
        if unknown := [name for name in entry.values if name not in known]:
            raise fields.fail("settings", unknown[0], f"some of {', '.join(known)}")
        enabled = self.enabled
        if entry.has("enabled"):
            flags = entry.items("enabled")
            if len(flags) != len(enabled) or not all(isinstance(flag, bool) for flag in flags):
                raise fields.fail(
                    entry.what("enabled"),
                    flags,
                    f"true or false for each of {len(enabled)} cameras",
                )
            enabled = tuple(flags)
        score = self.score_threshold
        if entry.has("score_threshold"):
            score = entry.number("score_threshold", low=0.0, high=1.0)
        return Settings(
            score_threshold=score,
            smooth=entry.flag("smooth") if entry.has("smooth") else self.smooth,
            enabled=enabled,
        )


@dataclass(slots=True)
class _Bucket:
    start_s: float
    frames: int = 0
    people: int = 0
    most_people: int = 0
    longest_ms: float = 0.0


@dataclass(slots=True)
class _CameraHistory:
    buckets: deque[_Bucket] = field(default_factory=lambda: deque(maxlen=_BUCKETS))


class History:
    """The last hour of each camera in steps of ten seconds; may be used by several threads."""

    def __init__(self, cameras: int) -> None:
        self._lock = threading.Lock()
        self._cameras = [_CameraHistory() for _ in range(cameras)]

    def add(self, results: Sequence[FrameResult], *, now_s: float | None = None) -> None:
        """Add processed frames; ``now_s`` is the time in seconds since 1970."""
        now_s = time.time() if now_s is None else now_s
        start_s = now_s // BUCKET_S * BUCKET_S
        with self._lock:
            for result in results:
                buckets = self._cameras[result.camera].buckets
                if not buckets or buckets[-1].start_s != start_s:
                    buckets.append(_Bucket(start_s))
                bucket, people = buckets[-1], len(result.poses)
                bucket.frames += 1
                bucket.people += people
                bucket.most_people = max(bucket.most_people, people)
                bucket.longest_ms = max(bucket.longest_ms, result.latency_ms)

    def document(self) -> dict[str, Any]:
        """Return the history as JSON: for each camera a list of entries, the oldest first.

        An entry is the time it starts (seconds since 1970), frames per second, the mean and the
        largest number of people, and the longest latency in milliseconds. Times without frames have
        no entry.
        """
        with self._lock:
            cameras = [
                [
                    [
                        round(bucket.start_s),
                        round(bucket.frames / BUCKET_S, 2),
                        round(bucket.people / bucket.frames, 2),
                        bucket.most_people,
                        round(bucket.longest_ms, 1),
                    ]
                    for bucket in camera.buckets
                ]
                for camera in self._cameras
            ]
        return {"bucket_s": BUCKET_S, "cameras": cameras}
