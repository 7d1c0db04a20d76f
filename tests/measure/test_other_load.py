from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slimpose.measure.other_load import OtherLoad


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="ticks are a notion of POSIX")
def test_time_of_other_programs_is_counted_and_ours_is_not(tmp_path: Path) -> None:
    stat, ticks = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu 0 0 0 5 0 0 0 0 0 0\ncpu0 1\n")
    load = OtherLoad(stat)
    started_s, ours_s = time.monotonic(), sum(os.times()[:4])
    while time.monotonic() - started_s < 0.4:
        pass
    elapsed_s, ours_s = time.monotonic() - started_s, sum(os.times()[:4]) - ours_s
    busy = round((1.5 * elapsed_s + ours_s) * ticks)  # 1.5 processors, and this process
    stat.write_text(f"cpu {busy} 0 0 99999 7 0 0 0 0 0\n")
    assert load.processors() == pytest.approx(1.5, abs=0.15)


def test_load_is_unknown_without_the_kernel_file(tmp_path: Path) -> None:
    assert OtherLoad(tmp_path / "none").processors() is None
