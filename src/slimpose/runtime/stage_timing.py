"""How long things take: bounded however long a run lasts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from time import perf_counter

from rich.table import Table

_REMEMBERED = 2048


class Durations:
    """Durations in milliseconds: all are counted, the newest 2048 are remembered."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0.0
        self._newest: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, ms: float) -> None:
        """Count one."""
        self.count += 1
        self.total_ms += ms
        self._newest.append(ms)

    def percentile(self, percent: int) -> float:
        """Return what so many of a hundred of the newest do not exceed; 0 before the first."""
        if len(self._newest) < 2:
            return self._newest[0] if self._newest else 0.0
        return quantiles(self._newest, n=100, method="inclusive")[percent - 1]


class StageTimes:
    """The time of every stage of a run, by name, in the order in which they first came."""

    def __init__(self) -> None:
        self.tallies: dict[str, Durations] = {}

    def add(self, stage: str, ms: float) -> None:
        """Count one pass through a stage."""
        self.tallies.setdefault(stage, Durations()).add(ms)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time of a block."""
        started = perf_counter()
        yield
        self.add(stage, 1e3 * (perf_counter() - started))

    def medians(self) -> str:
        """Return the stages' medians in one line."""
        return ", ".join(
            f"{stage} {tally.percentile(50):.1f}" for stage, tally in self.tallies.items()
        )

    def table(self, seconds: float) -> Table:
        """Return a table of all stages; their shares are of so many seconds."""
        table = Table("stage", title="Where the time went", title_justify="left")
        for column in ("passes", "median ms", "p95 ms", "mean ms", "total s", "of the run"):
            table.add_column(column, justify="right")
        for stage, tally in self.tallies.items():
            table.add_row(
                stage,
                f"{tally.count}",
                f"{tally.percentile(50):.1f}",
                f"{tally.percentile(95):.1f}",
                f"{tally.total_ms / max(1, tally.count):.1f}",
                f"{tally.total_ms / 1e3:.2f}",
                f"{tally.total_ms / max(1e-9, 10 * seconds):.0f} %",
            )
        return table
