"""The best one-to-one pairing of a few rows with a few columns, exactly, without SciPy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64


def assign(similarity: Float32[np.ndarray, "n m"], minimum: float) -> list[tuple[int, int]]:
    """Return pairs (row, column), rows ascending, whose summed similarity is the largest there is.

    Args:
        similarity: How well each row goes with each column.
        minimum: Pairs under it are never made; over 0, so that to stay alone is worth nothing and
            costs nothing.

    Raises:
        ValueError: If a similarity is no number, or the minimum is not over 0.

    Source:
        Kuhn, "The Hungarian method for the assignment problem", 1955; grown row by row along
        shortest paths in reduced costs as Jonker and Volgenant do (Computing 38, 1987).
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
    worth = np.where(allowed, similarity, 0)[np.ix_(rows, columns)].astype(np.float64)
    if len(rows) > len(columns):
        partner = _cheapest(-worth.T)
        pairs = [(int(rows[row]), int(columns[column])) for column, row in enumerate(partner)]
    else:
        partner = _cheapest(-worth)
        pairs = [(int(rows[row]), int(columns[column])) for row, column in enumerate(partner)]
    return sorted(pair for pair in pairs if allowed[pair])


def _cheapest(cost: Float64[np.ndarray, "n m"]) -> list[int]:
    """The column of each row (n <= m) at the least total cost."""
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    owner = np.full(m, -1)  # of each column: its row
    for new_row in range(n):
        distance = np.full(
            m, np.inf
        )  # of the shortest path from the new row to each column, in reduced costs
        previous = np.full(m, -1)  # the column before it on that path
        done = np.zeros(m, bool)
        row, reached, column = new_row, 0.0, -1
        while True:
            offered = reached + cost[row] - row_price[row] - column_price
            shorter = ~done & (offered < distance)
            distance[shorter] = offered[shorter]
            previous[shorter] = column
            column = int(np.argmin(np.where(done, np.inf, distance)))
            reached = float(distance[column])
            done[column] = True
            if owner[column] < 0:
                break
            row = int(owner[column])
        # Prices change so that every reduced cost stays at least 0, and is 0 along the path.
        visited = done.copy()
        visited[column] = False
        gain = reached - distance[visited]
        row_price[owner[visited]] += gain
        column_price[visited] -= gain
        row_price[new_row] += reached
        while column >= 0:  # every column of the path goes to the row of the one before it
            before = int(previous[column])
            owner[column] = owner[before] if before >= 0 else new_row
            column = before
    partner = [-1] * n
    for column, row in enumerate(owner):
        if row >= 0:
            partner[int(row)] = column
    return partner
