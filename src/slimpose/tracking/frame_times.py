"""The times of a camera's frames: how far apart they usually are, and how long tracks last."""

from __future__ import annotations

import math
from collections import deque

from slimpose.tracking.tracks import SLOW_FRAME_S, TrackerSettings

_USUAL_INTERVALS = 5
"""The usual time between frames is the median of this many."""
_LOST_INTERVALS, _MAX_SLOW_BUFFER_S = 3.5, 30.0
"""Where frames are slow, tracks are kept for this many usual intervals: two frames may miss a
person. A longer time than the limit says nothing about who is in the same place."""


class FrameTimes:
    """The time of the newest frame and the intervals before it."""

    def __init__(self) -> None:
        self._now_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_USUAL_INTERVALS)

    def check(self, timestamp_s: float) -> None:
        """Check the time of a frame to add.

        Raises:
            ValueError: If it is not finite, or not later than the newest frame.
        """
        if not math.isfinite(timestamp_s):
            raise ValueError(f"the time is {timestamp_s}; expected a finite number of seconds")
        if self._now_s is not None and timestamp_s <= self._now_s:
            raise ValueError(
                f"the time went from {self._now_s:g} s to {timestamp_s:g} s; "
                "expected it to increase"
            )

    def add(self, timestamp_s: float) -> None:
        """Add a frame."""
        if self._now_s is not None:
            self._intervals_s.append(timestamp_s - self._now_s)
        self._now_s = timestamp_s

    def is_after_gap(self, timestamp_s: float) -> bool:
        """Return whether a frame to add is the first, or follows a gap."""
        return self._now_s is None or timestamp_s - self._now_s > SLOW_FRAME_S

    def is_slow(self, timestamp_s: float) -> bool:
        """Return whether frames are so far apart that each is processed like a single image."""
        return self._usual_interval_s(timestamp_s) > SLOW_FRAME_S

    def buffer_s(self, timestamp_s: float, settings: TrackerSettings) -> float:
        """Return how long tracks are kept without a match."""
        slow_s = min(_LOST_INTERVALS * self._usual_interval_s(timestamp_s), _MAX_SLOW_BUFFER_S)
        return max(settings.lost_track_buffer_s, slow_s)

    def _usual_interval_s(self, timestamp_s: float) -> float:
        """The usual time between frames, up to a frame at this time; 0 in the first frame."""
        intervals = list(self._intervals_s)
        if self._now_s is not None and timestamp_s > self._now_s:
            intervals.append(timestamp_s - self._now_s)
        return sorted(intervals)[(len(intervals) - 1) // 2] if intervals else 0.0
