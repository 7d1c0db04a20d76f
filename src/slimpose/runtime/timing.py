"""Measuring time: the stages of a run, with bounded memory, and calls compared with each other."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

WARM_UP = 3
_MAX_SAMPLES = 2048


class Durations:
    """Durations in milliseconds: count and sum of all, percentiles of the newest 2048.

    >>> durations = Durations()
    >>> for ms in (10.0, 20.0, 60.0):
    ...     durations.add(ms)
    >>> durations.mean_ms, durations.percentile(50)
    (30.0, 20.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0.0
        self._newest: deque[float] = deque(maxlen=_MAX_SAMPLES)

    @property
    def mean_ms(self) -> float:
        """Mean of all durations; 0 before the first."""
        return self.total_ms / max(1, self.count)

    def add(self, ms: float) -> None:
        """Add one duration."""
        self.count += 1
        self.total_ms += ms
        self._newest.append(ms)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of a block, or of each call of the function that this decorates."""
        started_s = time.perf_counter()
        yield
        self.add(1e3 * (time.perf_counter() - started_s))

    def percentile(self, percent: int) -> float:
        """Return a percentile (1..99) of the newest durations; 0 before the first."""
        if len(self._newest) < 2:
            return self._newest[0] if self._newest else 0.0
        return statistics.quantiles(self._newest, n=100, method="inclusive")[percent - 1]


class StageTimes:
    """The durations of each stage of a run, by name: given stages first, others by first use."""

    def __init__(self, *stages: str) -> None:
        self.stages = {stage: Durations() for stage in stages}
        self._last_lap_s = time.perf_counter()

    def add(self, stage: str, ms: float) -> None:
        """Add the time of one pass through a stage."""
        self.stages.setdefault(stage, Durations()).add(ms)

    def add_all(self, stages_ms: Mapping[str, float]) -> None:
        """Add one pass through each of several stages."""
        for stage, ms in stages_ms.items():
            self.add(stage, ms)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block."""
        started_s = time.perf_counter()
        yield
        self.add(stage, 1e3 * (time.perf_counter() - started_s))

    def lap(self, stage: str) -> None:
        """Add the time since the previous lap, or since this object was created."""
        now_s = time.perf_counter()
        self.add(stage, 1e3 * (now_s - self._last_lap_s))
        self._last_lap_s = now_s

    def totals_ms(self) -> dict[str, float]:
        """Return the total time of each stage."""
        return {stage: durations.total_ms for stage, durations in self.stages.items()}

    def medians(self) -> str:
        """Return the stages' medians in one line, such as "detect 7.3, pose 2.1"."""
        return ", ".join(
            f"{stage} {durations.percentile(50):.1f}" for stage, durations in self.stages.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """Milliseconds of a repeated call: median, 95th percentile, minimum; number of timed calls."""

    median_ms: float
    p95_ms: float
    min_ms: float
    calls: int

    @classmethod
    def of(cls, ms: list[float]) -> CallTimes:
        """Return the statistics of timed calls, at least one."""
        p95 = statistics.quantiles(ms, n=20, method="inclusive")[18] if len(ms) > 1 else ms[0]
        return cls(median_ms=statistics.median(ms), p95_ms=p95, min_ms=min(ms), calls=len(ms))


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = WARM_UP,
    seconds: float | None = None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> dict[str, CallTimes]:
    """Time several calls in alternation, so that a busy machine slows all of them alike.

    Args:
        calls: What to time, by name.
        rounds: Timed rounds, at least 1; each round makes every call once.
        warm_up: Rounds before that are not timed.
        seconds: No further round starts after this time, warm-up included; one round is timed in
            any case.
        clock_s: Returns the time in seconds.

    >>> sorted(time_interleaved({"a": lambda: 1, "b": lambda: 2}, rounds=5))
    ['a', 'b']
    """
    ms: dict[str, list[float]] = {name: [] for name in calls}
    started_s = clock_s()
    for number in range(warm_up + rounds):
        is_late = seconds is not None and clock_s() - started_s >= seconds
        if is_late and number > warm_up:
            break
        if is_late and number < warm_up:
            continue
        for name, call in calls.items():
            call_started_s = clock_s()
            call()
            if number >= warm_up:
                ms[name].append(1e3 * (clock_s() - call_started_s))
    return {name: CallTimes.of(samples) for name, samples in ms.items()}
