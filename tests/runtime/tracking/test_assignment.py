"""The best pairing: never a worse one than trying them all finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.runtime.tracking.assignment import assign


def matrix(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def best_total(similarity: np.ndarray, minimum: float) -> float:
    """By trying every pairing of every choice of rows."""
    worth = np.where(similarity >= minimum, similarity, 0).astype(np.float64)
    if worth.shape[0] > worth.shape[1]:
        worth = worth.T
    rows = range(worth.shape[0])
    pairings = itertools.permutations(range(worth.shape[1]), worth.shape[0])
    return max(
        sum(worth[row, column] for row, column in zip(rows, columns, strict=True))
        for columns in pairings
    )


# known values


def test_the_greedy_choice_is_not_taken_where_it_costs_more_than_it_gives() -> None:
    # Greedy pairs 0 with 0 (0.9) and leaves 1 with nothing; 0.8 + 0.7 is more.
    assert assign(matrix((0.9, 0.8), (0.7, 0.0)), 0.1) == [(0, 1), (1, 0)]


def test_a_pair_under_the_minimum_is_never_made() -> None:
    assert assign(matrix((0.9, 0.3), (0.3, 0.2)), 0.4) == [(0, 0)]


def test_a_pair_right_at_the_minimum_is_made() -> None:
    assert assign(matrix((0.5,)), 0.5) == [(0, 0)]


def test_rows_and_columns_that_fit_nobody_stay_alone() -> None:
    assert assign(matrix((0.0, 0.0, 0.0), (0.0, 0.0, 0.6)), 0.1) == [(1, 2)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_with_nothing_to_pair_there_are_no_pairs(shape: tuple[int, int]) -> None:
    assert assign(np.zeros(shape, np.float32), 0.1) == []


def test_rows_beyond_the_columns_are_left_over() -> None:
    assert assign(matrix((0.5,), (0.9,), (0.7,)), 0.1) == [(1, 0)]


# properties


@st.composite
def similarities(draw: st.DrawFn) -> np.ndarray:
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    steps = draw(
        st.lists(st.integers(0, 10), min_size=n * m, max_size=n * m)
    )  # coarse, so that there are ties
    return (np.array(steps, np.float32) / 10).reshape(n, m)


@given(similarities(), st.sampled_from([0.05, 0.35, 0.8]))
def test_no_pairing_has_a_larger_sum(similarity: np.ndarray, minimum: float) -> None:
    pairs = assign(similarity, minimum)
    assert sum(float(similarity[pair]) for pair in pairs) == pytest.approx(
        best_total(similarity, minimum), abs=1e-5
    )


@given(similarities())
def test_nobody_is_paired_twice_and_rows_ascend(similarity: np.ndarray) -> None:
    pairs = assign(similarity, 0.05)
    assert [row for row, _ in pairs] == sorted({row for row, _ in pairs})
    assert len({column for _, column in pairs}) == len(pairs)


def test_fifty_people_are_no_worse_than_scipy_pairs_them() -> None:
    from scipy import optimize

    similarity = np.random.default_rng(3).uniform(0, 1, (50, 47)).astype(np.float32)
    rows, columns = optimize.linear_sum_assignment(similarity, maximize=True)
    ours = sum(float(similarity[pair]) for pair in assign(similarity, 1e-6))
    assert ours == pytest.approx(float(similarity[rows, columns].sum()), rel=1e-5)


# errors


def test_a_similarity_that_is_no_number_is_told() -> None:
    with pytest.raises(ValueError, match="a similarity is NaN; expected numbers"):
        assign(matrix((0.5, np.nan)), 0.1)


def test_a_minimum_of_nought_is_told() -> None:
    with pytest.raises(ValueError, match="minimum is 0; expected a similarity over 0"):
        assign(matrix((0.5,)), 0.0)
