import pytest

from slimpose.runtime.timing import Durations, StageTimes, time_interleaved


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


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


def test_interleaved_calls_are_warmed_up_and_counted() -> None:
    clock, durations_ms = Clock(), {"a": iter([90, 90, 1, 2, 3]), "b": iter([90, 90, 5, 5, 5])}

    def work(name: str) -> None:
        clock.now_s += next(durations_ms[name]) / 1e3

    calls = {name: lambda name=name: work(name) for name in durations_ms}
    times = time_interleaved(calls, rounds=3, warm_up=2, clock_s=clock)
    assert (times["a"].median_ms, times["a"].min_ms, times["a"].calls) == (
        pytest.approx(2),
        pytest.approx(1),
        3,
    )
    assert times["a"].p95_ms == pytest.approx(2.9)
    assert times["b"].median_ms == pytest.approx(5)


def test_one_round_is_timed_even_if_it_is_late() -> None:
    clock = Clock()

    def work() -> None:
        clock.now_s += 10

    times = time_interleaved({"slow": work}, rounds=9, warm_up=3, seconds=1.0, clock_s=clock)
    assert times["slow"].calls == 1
