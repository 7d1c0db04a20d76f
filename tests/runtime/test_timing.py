import pytest

from slimpose.runtime.timing import Durations, StageTimes


def test_percentiles_use_the_newest_durations_and_totals_use_all() -> None:
    durations = Durations()
    assert (durations.percentile(50), durations.mean_ms) == (0, 0)
    for _ in range(2048):
        durations.add(1000.0)
    for _ in range(2048):
        durations.add(1.0)
    assert (durations.percentile(50), durations.percentile(95)) == (1, 1)
    assert durations.count == 4096
    assert durations.mean_ms == pytest.approx(500.5)


def test_a_decorated_function_is_timed_at_each_call() -> None:
    durations = Durations()
    double = durations.timed()(lambda number: 2 * number)
    assert [double(1), double(2)] == [2, 4]
    assert durations.count == 2
    assert durations.total_ms > 0


def test_stages_are_listed_as_given_and_then_in_order_of_first_use() -> None:
    times = StageTimes("track", "unused")
    times.lap("detect")
    with times.timed("track"):
        pass
    times.add_all({"pose": 2.0, "track": 1.0})
    assert list(times.totals_ms()) == ["track", "unused", "detect", "pose"]
    assert times.totals_ms()["unused"] == 0
    assert times.stages["track"].count == 2
    assert times.totals_ms()["pose"] == 2
    assert times.medians().endswith("pose 2.0")
