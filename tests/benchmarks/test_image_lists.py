"""``benchmarks/image_lists.py``: a list of images is faster than the images one by one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_list_is_faster_than_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    sys.path.insert(0, str(BENCHMARKS))  # for its module ``machine``
    specification = importlib.util.spec_from_file_location(
        "image_lists", BENCHMARKS / "image_lists.py"
    )
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    times, found = script.measure(20, 5, rounds=5)
    assert found >= 4
    best_ms = {key: each.min_ms / 20 for key, each in times.items()}
    with capsys.disabled():
        print("\nms per image:", {" ".join(key): round(ms, 1) for key, ms in best_ms.items()})
    assert best_ms["elapsed", "a list"] < best_ms["elapsed", "one by one"]
