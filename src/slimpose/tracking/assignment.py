"""The linear assignment problem: exact solution for small matrices, without SciPy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64


def assign(similarity: Float32[np.ndarray, "n m"], minimum: float) -> list[tuple[int, int]]:
    """Return the one-to-one pairs (row, column) with the largest total similarity, rows ascending.

    Args:
        similarity: Similarity of each row and each column.
        minimum: The least similarity of a pair, over 0. Unpaired rows and columns count as 0.

    Raises:
        ValueError: If a similarity is NaN, or the minimum is not over 0.

    Source:
        Kuhn, "The Hungarian method for the assignment problem", 1955; with the shortest augmenting
        paths of Jonker and Volgenant, Computing 38, 1987.

    >>> assign(np.array([[0.9, 0.8], [0.7, 0.0]], np.float32), 0.1)
    [(0, 1), (1, 0)]
    """
    if not minimum > 0:
        raise ValueError(f"minimum is {minimum:g}; expected a similarity over 0")
    if np.isnan(similarity).any():
        raise ValueError(
            "a similarity is NaN; expected numbers (a pose or box that is not finite?)"
        )
    allowed = similarity >= minimum
    rows, columns = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    if len(rows) == 0:
        return []
    value = np.where(allowed, similarity, 0)[np.ix_(rows, columns)].astype(np.float64)
    if len(rows) > len(columns):
        matches = _minimum_cost_columns(-value.T)
        pairs = [(int(rows[row]), int(columns[column])) for column, row in enumerate(matches)]
    else:
        matches = _minimum_cost_columns(-value)
        pairs = [(int(rows[row]), int(columns[column])) for row, column in enumerate(matches)]
    return sorted(pair for pair in pairs if allowed[pair])


def _minimum_cost_columns(cost: Float64[np.ndarray, "n m"]) -> list[int]:
    """The column of each row (n <= m) with the least total cost."""
    n, m = cost.shape
    row_potential, column_potential = np.zeros(n), np.zeros(m)
    matched_row = np.full(m, -1)  # of each column
    for new_row in range(n):
        # The shortest paths from the new row to each column, in reduced costs (Dijkstra).
        distance = np.full(m, np.inf)
        previous = np.full(m, -1)  # the column before it on the path
        done = np.zeros(m, bool)
        row, path_length, column = new_row, 0.0, -1
        while True:
            candidate = path_length + cost[row] - row_potential[row] - column_potential
            shorter = ~done & (candidate < distance)
            distance[shorter] = candidate[shorter]
            previous[shorter] = column
            column = int(np.argmin(np.where(done, np.inf, distance)))
            path_length = float(distance[column])
            done[column] = True
            if matched_row[column] < 0:
                break
            row = int(matched_row[column])
        # Potentials change so that every reduced cost stays at least 0, and is 0 along the path.
        visited = done.copy()
        visited[column] = False
        change = path_length - distance[visited]
        row_potential[matched_row[visited]] += change
        column_potential[visited] -= change
        row_potential[new_row] += path_length
        while column >= 0:  # augment: each column on the path takes the row of the one before it
            before = int(previous[column])
            matched_row[column] = matched_row[before] if before >= 0 else new_row
            column = before
    matches = [-1] * n
    for column, row in enumerate(matched_row):
        if row >= 0:
            matches[int(row)] = column
    return matches
