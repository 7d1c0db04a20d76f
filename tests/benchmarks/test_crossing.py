"""``benchmarks/crossing.py``: the number of people at which two lines cross."""

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
        pytest.skip("the benchmarks are not next to the tests")
    sys.path.insert(0, str(BENCHMARKS))  # for its module ``machine``
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
    ("first", "second", "expected"),
    [
        ([10, 20, 40], [35, 35, 35], 3.5),
        ([10, 20, 30], [35, 35, 35], None),
        ([40, 50, 60], [35, 35, 35], 1.0),
    ],
)
def test_crossing_is_interpolated_between_measurements(
    script: ModuleType, first: list[float], second: list[float], expected: float | None
) -> None:
    assert script._crossing((1, 2, 4), np.array(first), np.array(second)) == expected
