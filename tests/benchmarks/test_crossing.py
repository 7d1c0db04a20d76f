"""``benchmarks/crossing.py``: where two lines cross."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks are not beside the tests")
    sys.path.insert(0, str(BENCHMARKS))  # its module about the machine
    try:
        spec = importlib.util.spec_from_file_location("crossing", BENCHMARKS / "crossing.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        ([10, 20, 40], [35, 35, 35], 3.5),
        ([10, 20, 30], [35, 35, 35], None),
        ([40, 50, 60], [35, 35, 35], 1.0),
    ],
)
def test_lines_cross_between_the_numbers_measured(
    script: ModuleType, mine: list[float], other: list[float], expected: float | None
) -> None:
    assert script._crossing((1, 2, 4), np.array(mine), np.array(other)) == expected
