"""Events of made videos through the command line, compared with the truth."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DEV = Path("/work/shared/data/dev")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def zone_counts() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("zone_counts")
    sys.path.remove(str(BENCHMARKS))


def test_true_events_are_those_of_the_feet(zone_counts: ModuleType) -> None:
    """One person walks from 10 to 90 % of the width in 33 frames, and back."""
    way = [0.1 + 0.025 * step for step in range(33)]
    feet = [{1: x} for x in [*way, *reversed(way)]]
    events = [
        {"kind": "enter", "time_s": 1.0},
        {"kind": "count", "time_s": 1.3, "people": 1},
        {"kind": "leave", "time_s": 2.2},
        {"kind": "count", "time_s": 2.5, "people": 0},
        {"kind": "line", "direction": "out", "time_s": 0.4},
    ]
    found = zone_counts.compare(feet, events, fps=10.0)
    assert found["enter"] == "1 of 2"
    assert found["leave"] == "1 of 2"
    assert (found["in"], found["out"]) == ("0 of 1", "1 of 1")
    assert not found["are_equal"]
    assert found["counts_right"] < 1
    assert found["wrong_from_s"] == pytest.approx(5.2, abs=0.3)  # the way back is not counted


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEV.is_dir(), reason="needs the shared data")
def test_counts_of_made_videos_are_the_true_ones(zone_counts: ModuleType) -> None:
    """Two cameras of one run, with real people and the shipped models."""
    cutouts, backgrounds = zone_counts.read_cutouts(DEV / "person_keypoints.json", DEV / "images")
    videos = [zone_counts.scene.visits(cutouts, backgrounds[seed], seed) for seed in (0, 1)]
    for figures in zone_counts.measure(videos, ["--model", "mnv2"]):
        assert figures["are_equal"], figures
        assert figures["counts_right"] > 0.95  # a count may come some frames later
        assert figures["most_people"] >= 2
