"""How busy other programs keep the machine during a measurement, which makes its times too high."""

from __future__ import annotations

import os
import time
from pathlib import Path

BUSY_SHARE = 0.1
"""From this share of the processors on, a measurement is disturbed."""


class OtherLoad:
    """The processors that other programs have kept busy since this was made.

    Args:
        stat: Where the kernel counts processor time.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._started_s, self._others_s = time.monotonic(), self._others()

    def processors(self) -> float | None:
        """Return their mean number; None where it is unknown."""
        seconds, others_s = time.monotonic() - self._started_s, self._others()
        if others_s is None or self._others_s is None or seconds <= 0:
            return None
        return max(0.0, (others_s - self._others_s) / seconds)

    def _others(self) -> float | None:
        """Seconds of processor time of all programs but this one and its children."""
        try:
            fields = self._stat.read_text(encoding="utf-8").split("\n", 1)[0].split()
        except OSError:
            return None
        # cpu, then user, nice, system, idle, iowait, irq, softirq, steal in ticks
        user, nice, system, _idle, _iowait, *rest = (int(field) for field in fields[1:9])
        busy_s = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
        return busy_s - sum(os.times()[:4])
