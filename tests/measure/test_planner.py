from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimpose.measure.planner import (
    Load,
    Setup,
    detection_intervals,
    find_capacity,
    find_plans,
    longest_interval_plans,
    split_fixed_and_per_person_ms,
)
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice

LOAD = Load(people=5, cameras=2, fps=10.0)
GOOD = Setup(
    path=Path("good.onnx"),
    model="good",
    quality=0.5,
    detector=models.resolve(models.DEFAULT_DETECTOR),
    detector_quality=0.3,
    choice=BackendChoice(),
    precision="fp32",
    threads=2,
    call_ms=1.0,
    person_ms=5.0,
    detect_ms=20.0,
    frame_ms=4.0,
    crop_ms=0.2,
)
QUICK = replace(GOOD, model="quick", quality=0.4, person_ms=1.0)
BF16 = replace(
    GOOD,
    choice=BackendChoice(backend="openvino", precision="bf16"),
    precision="bf16",
    person_ms=3.0,
)


def best_setup(setups: list[Setup], load: Load, headroom: float = 0.1) -> Setup:
    return find_plans(setups, load, headroom=headroom)[0].setup


def test_step_time_is_the_sum_of_its_parts() -> None:
    # Two frames of five people: 2 * (4 + 5 * 0.2) + 1 + 10 * 5, and a detection of 20 ms every
    # fourth frame.
    assert GOOD.step_ms(LOAD, 4) == pytest.approx(10 + 51 + 2 * 20 / 4)


def test_one_stage_models_run_on_every_frame_at_a_cost_per_frame() -> None:
    none: dict[str, Any] = {"call_ms": 0.0, "person_ms": 0.0, "detect_ms": 0.0, "crop_ms": 0.0}
    alone = replace(GOOD, detector=None, frame_ms=40.0, **none)
    for people in (1, 50):
        (plan,) = find_plans([alone], replace(LOAD, people=people), headroom=0.1)
        assert (plan.detect_every, plan.step_ms) == (1, 80.0)
    assert find_plans([replace(alone, frame_ms=46.0)], LOAD, headroom=0.1) == []
    assert [plan.detect_every for plan in longest_interval_plans([alone, GOOD], LOAD)] == [8, 1]
    better = replace(alone, quality=0.6)
    assert best_setup([GOOD, better], LOAD) == better
    assert best_setup([alone, replace(GOOD, quality=0.55)], LOAD).quality == 0.55


def test_shortest_interval_that_leaves_the_headroom_is_chosen() -> None:
    # 61 + 40/k of 100 ms; 90 may be used: k = 2 gives 81.
    (plan,) = find_plans([GOOD], LOAD, headroom=0.1)
    assert plan.detect_every == 2
    assert (plan.step_ms, plan.utilization) == (pytest.approx(81), pytest.approx(0.81))
    (tight,) = find_plans([GOOD], LOAD, headroom=0.3)
    assert tight.detect_every == 6
    assert find_plans([GOOD], LOAD, headroom=0.5) == []


@pytest.mark.parametrize(
    ("setups", "fps", "expected"),
    [
        ([QUICK, GOOD], 10.0, "good"),  # the better model, though the other detects more often
        ([QUICK, GOOD], 16.0, "quick"),  # 62.5 ms: the better one has no time left
    ],
)
def test_better_model_ranks_first_if_it_sustains_the_load(
    setups: list[Setup], fps: float, expected: str
) -> None:
    assert best_setup(setups, replace(LOAD, fps=fps), 0.0).model == expected


def test_better_detector_ranks_first_then_the_faster_one() -> None:
    small = replace(GOOD, detector=Path("small.onnx"), detect_ms=10.0)
    assert best_setup([GOOD, small], LOAD).detector == small.detector  # detects more often
    lesser = replace(small, detector_quality=0.2)
    assert best_setup([lesser, GOOD], LOAD).detector == GOOD.detector
    assert best_setup([lesser, GOOD], replace(LOAD, fps=15.0), 0.0).detector == GOOD.detector
    # 65.4 ms: 61, and at the shortest 40/12 or 20/12, beyond MAX_GOOD_INTERVAL.
    no_time_left = replace(LOAD, fps=15.3)
    assert best_setup([GOOD, lesser], no_time_left, 0.0).detector == small.detector


def test_own_precision_ranks_first_at_the_same_interval() -> None:
    assert best_setup([BF16, replace(GOOD, person_ms=3.1)], LOAD).precision == "fp32"
    assert best_setup([BF16, GOOD], LOAD).precision == "bf16"  # detects on every frame


def test_long_interval_ranks_after_a_less_accurate_model() -> None:
    # 24 per second leave 41.7 ms; both take 21, and detection 400/k or 40/k: k = 24, and k = 2.
    load = replace(LOAD, fps=24.0)
    slow = replace(GOOD, person_ms=1.0, detect_ms=200.0)
    first, last = find_plans([slow, QUICK], load, headroom=0.0)
    assert (first.setup.model, last.setup.model) == ("quick", "good")
    assert first.detect_every <= 8 < last.detect_every


def test_new_people_are_detected_within_a_second() -> None:
    assert detection_intervals(10.0) == [1, 2, 3, 4, 6, 8]
    assert detection_intervals(0.5) == [1]
    assert detection_intervals(60.0)[-1] == 32


loads = st.builds(
    Load,
    people=st.integers(1, 20),
    cameras=st.integers(1, 8),
    fps=st.floats(0.5, 60.0),
)


@given(loads, st.floats(0.0, 0.5))
def test_all_plans_fit_into_the_available_time(load: Load, headroom: float) -> None:
    for plan in find_plans([GOOD, QUICK, BF16], load, headroom=headroom):
        assert plan.step_ms <= (1 - headroom) * 1e3 / load.fps * (1 + 1e-9)
        assert plan.detect_every <= max(1.0, load.fps)


@settings(max_examples=25)
@given(loads)
def test_a_load_at_capacity_can_be_planned(load: Load) -> None:
    capacity = find_capacity([GOOD, BF16], load, headroom=0.1)
    limits = (
        ("people", capacity.people),
        ("cameras", capacity.cameras),
        ("fps", capacity.fps),
    )
    for name, limit in limits:
        if limit > 0:
            assert find_plans([GOOD, BF16], replace(load, **{name: limit}), headroom=0.1)


def test_capacity_is_as_computed_by_hand() -> None:
    # 90 ms for n people in each of two cameras: 2 * (4 + 0.2 n) + 1 + 10 n + 40 / 8.
    assert find_capacity([GOOD], LOAD, headroom=0.1).people == 7
    assert find_capacity([GOOD], replace(LOAD, fps=1000.0), headroom=0.1).people == 0


def test_fastest_setup_is_listed_first_if_no_plan_works() -> None:
    plans = longest_interval_plans([GOOD, QUICK], replace(LOAD, fps=100.0))
    assert [plan.setup.model for plan in plans] == ["quick", "good"]


@given(st.floats(0.0, 50.0), st.floats(0.01, 50.0), st.integers(2, 40))
def test_fixed_and_per_person_times_are_recovered(
    call_ms: float, person_ms: float, many: int
) -> None:
    times = split_fixed_and_per_person_ms(call_ms + person_ms, call_ms + many * person_ms, many)
    np.testing.assert_allclose(times, (call_ms, person_ms), atol=1e-6, rtol=1e-4)


def test_noisy_times_are_never_negative() -> None:
    assert split_fixed_and_per_person_ms(10.0, 8.0, 4) == (8.0, 0.0)
    assert split_fixed_and_per_person_ms(7.0, 7.0, 1) == (0.0, 7.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": 0}, r"people is 0; expected 1\.\.200"),
        ({"cameras": -1}, r"cameras is -1; expected 1\.\.64"),
        ({"fps": 0.0}, "fps is 0; expected frames per second, over 0"),
        ({"fps": float("nan")}, "fps is nan"),
    ],
)
def test_load_out_of_bounds_is_rejected(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LOAD, **changes)
