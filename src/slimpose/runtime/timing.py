"""Times of things that take turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """Milliseconds of a call: median, what 95 of 100 calls do not exceed, the least, and how many calls were timed."""

    median_ms: float
    p95_ms: float
    min_ms: float
    calls: int

    @classmethod
    def of(cls, ms: list[float]) -> CallTimes:
        """Return the figures of timed calls, of which there must be one."""
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
    """Call each in turn, round after round, and return their times.

    Args:
        calls: What to time, by name.
        rounds: Timed rounds, at least 1.
        warm_up: Rounds before, which do not count.
        seconds: No further round begins after so long, warm-up included; one timed round there is
            in any case.
        clock_s: The time.
    """
    ms: dict[str, list[float]] = {name: [] for name in calls}
    began_s = clock_s()
    for number in range(warm_up + rounds):
        is_late = seconds is not None and clock_s() - began_s >= seconds
        if is_late and number > warm_up:
            break
        if is_late and number < warm_up:
            continue
        for name, call in calls.items():
            started_s = clock_s()
            call()
            if number >= warm_up:
                ms[name].append(1e3 * (clock_s() - started_s))
    return {name: CallTimes.of(taken) for name, taken in ms.items()}
