from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.tracking.assignment import assign


def matrix(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def best_total(similarity: np.ndarray, minimum: float) -> float:
    """The largest total of all possible pairings, by brute force."""
    value = np.where(similarity >= minimum, similarity, 0).astype(np.float64)
    if value.shape[0] > value.shape[1]:
        value = value.T
    rows = range(value.shape[0])
    pairings = itertools.permutations(range(value.shape[1]), value.shape[0])
    return max(
        sum(value[row, column] for row, column in zip(rows, columns, strict=True))
        for columns in pairings
    )


# Known values.


def test_total_is_maximized_instead_of_the_best_single_pair() -> None:
    # Greedy pairs 0 with 0 (0.9) and leaves 1 with nothing; 0.8 + 0.7 is more.
    assert assign(matrix((0.9, 0.8), (0.7, 0.0)), 0.1) == [(0, 1), (1, 0)]


def test_pair_under_the_minimum_is_not_made() -> None:
    assert assign(matrix((0.9, 0.3), (0.3, 0.2)), 0.4) == [(0, 0)]


def test_pair_at_the_minimum_is_made() -> None:
    assert assign(matrix((0.5,)), 0.5) == [(0, 0)]


def test_rows_and_columns_without_a_possible_pair_stay_unpaired() -> None:
    assert assign(matrix((0.0, 0.0, 0.0), (0.0, 0.0, 0.6)), 0.1) == [(1, 2)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_zero_or_empty_matrix_has_no_pairs(shape: tuple[int, int]) -> None:
    assert assign(np.zeros(shape, np.float32), 0.1) == []


def test_surplus_rows_stay_unpaired() -> None:
    assert assign(matrix((0.5,), (0.9,), (0.7,)), 0.1) == [(1, 0)]


# Properties.


@st.composite
def similarities(draw: st.DrawFn) -> np.ndarray:
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    tenths = st.lists(st.integers(0, 10), min_size=n * m, max_size=n * m)  # coarse, to have ties
    return (np.array(draw(tenths), np.float32) / 10).reshape(n, m)


@given(similarities(), st.sampled_from([0.05, 0.35, 0.8]))
def test_no_pairing_has_a_larger_total(similarity: np.ndarray, minimum: float) -> None:
    pairs = assign(similarity, minimum)
    assert sum(float(similarity[pair]) for pair in pairs) == pytest.approx(
        best_total(similarity, minimum), abs=1e-5
    )


@given(similarities())
def test_pairs_are_one_to_one_with_ascending_rows(similarity: np.ndarray) -> None:
    pairs = assign(similarity, 0.05)
    assert [row for row, _ in pairs] == sorted({row for row, _ in pairs})
    assert len({column for _, column in pairs}) == len(pairs)


def test_total_of_fifty_rows_equals_that_of_scipy() -> None:
    from scipy import optimize

    similarity = np.random.default_rng(3).uniform(0, 1, (50, 47)).astype(np.float32)
    rows, columns = optimize.linear_sum_assignment(similarity, maximize=True)
    total = sum(float(similarity[pair]) for pair in assign(similarity, 1e-6))
    assert total == pytest.approx(float(similarity[rows, columns].sum()), rel=1e-5)


# Errors.


def test_nan_similarity_is_rejected() -> None:
    with pytest.raises(ValueError, match="a similarity is NaN; expected numbers"):
        assign(matrix((0.5, np.nan)), 0.1)


def test_minimum_of_zero_is_rejected() -> None:
    with pytest.raises(ValueError, match="minimum is 0; expected a similarity over 0"):
        assign(matrix((0.5,)), 0.0)
