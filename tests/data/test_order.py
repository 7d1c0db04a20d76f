from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.data.order import SampleOrder, prefetch


def draw_epochs(order: SampleOrder, *, epochs: int = 1) -> Counter[int]:
    return Counter(order.at(position) for position in range(epochs * order.epoch_length))


# known values


def test_sample_is_drawn_as_often_as_its_repeats() -> None:
    assert draw_epochs(SampleOrder(np.array([1.0, 2.0, 0.0, 3.0]), seed=0)) == {0: 1, 1: 2, 3: 3}


def test_half_a_repeat_is_drawn_in_half_of_the_epochs() -> None:
    order = SampleOrder(np.full(40, 0.5), seed=0)
    assert order.epoch_length == 20
    counts = draw_epochs(order, epochs=200)
    assert set(counts) == set(range(40))
    # 100 expected, standard deviation 7.
    assert all(70 <= count <= 130 for count in counts.values())


def test_epochs_are_shuffled_differently() -> None:
    order = SampleOrder(np.ones(50), seed=0)
    first, second = ([order.at(50 * epoch + i) for i in range(50)] for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_another_seed_is_another_order() -> None:
    one, other = (SampleOrder(np.ones(50), seed=seed) for seed in (0, 1))
    assert [one.at(i) for i in range(50)] != [other.at(i) for i in range(50)]


# properties


@given(
    st.lists(st.floats(0, 4), min_size=1, max_size=12).filter(lambda r: sum(r) >= 1),
    st.integers(0, 2**31),
)
def test_fractional_repeats_add_at_most_one_draw(repeats: list[float], seed: int) -> None:
    order = SampleOrder(np.array(repeats), seed=seed)
    counts = draw_epochs(order)
    assert counts.total() == round(sum(repeats))
    for sample, repeat in enumerate(repeats):
        assert np.floor(repeat) <= counts[sample] <= np.ceil(repeat)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_order_is_a_function_of_the_position(
    positions: list[int],
) -> None:
    repeats = np.array([1.0, 0.5, 2.25, 1.0, 3.0])
    order = SampleOrder(repeats, seed=5)
    for position in positions:
        assert order.at(position) == SampleOrder(repeats, seed=5).at(position)


# prefetch


def test_prefetch_yields_batches_in_order_from_the_start() -> None:
    batches = prefetch(lambda step: step * step, 3)
    assert [next(batches) for _ in range(4)] == [9, 16, 25, 36]
    batches.close()


def test_several_threads_keep_the_order() -> None:
    def slow_at_first(step: int) -> int:
        time.sleep(0.02 * (step % 4 == 0))
        return step

    batches = prefetch(slow_at_first, 0, workers=4)
    assert [next(batches) for _ in range(12)] == list(range(12))
    batches.close()


def test_prefetch_uses_another_thread() -> None:
    batches = prefetch(lambda _: threading.current_thread(), 0)
    assert next(batches) is not threading.current_thread()
    batches.close()


def test_error_in_a_batch_is_raised() -> None:
    def broken(step: int) -> int:
        if step == 1:
            raise ValueError("image 1 is broken")
        return step

    batches = prefetch(broken, 0)
    assert next(batches) == 0
    with pytest.raises(ValueError, match="image 1 is broken"):
        next(batches)


# errors


@pytest.mark.parametrize(
    ("repeats", "total"),
    [
        ([0.0, 0.0], "0"),  # nothing to draw
        ([0.4, 0.5], "0.9"),  # less than one sample an epoch
        ([2.0, -1.0], "1"),  # a negative weight
        ([float("nan"), 2.0], "nan"),
    ],
)
def test_invalid_repeats_are_rejected(repeats: list[float], total: str) -> None:
    with pytest.raises(
        ValueError,
        match=f"sampling weights sum to {total}; expected none negative, and a sum of at least 1",
    ):
        SampleOrder(np.array(repeats), seed=0)
