// The linear assignment problem, as slimpose/tracking/assignment.py solves it.

/**
 * The one-to-one pairs (row, column) with the largest total similarity, rows ascending.
 * `minimum` is the least similarity of a pair, over 0; unpaired rows and columns count as 0.
 *
 * Source: Kuhn, "The Hungarian method for the assignment problem", 1955; with the shortest
 * augmenting paths of Jonker and Volgenant, Computing 38, 1987.
 */
export function assign(similarity: number[][], minimum: number): [number, number][] {
  if (similarity.some((row) => row.some(Number.isNaN))) {
    throw new RangeError(
      "a similarity is NaN; expected numbers (a pose or box that is not finite?)",
    );
  }
  const isAllowed = (row: number, column: number) => similarity[row][column] >= minimum;
  const allRows = similarity.map((_, row) => row);
  const allColumns = (similarity[0] ?? []).map((_, column) => column);
  const rows = allRows.filter((row) => allColumns.some((column) => isAllowed(row, column)));
  const columns = allColumns.filter((column) => allRows.some((row) => isAllowed(row, column)));
  if (rows.length === 0) return [];
  const cost = (row: number, column: number) =>
    isAllowed(row, column) ? -similarity[row][column] : 0;
  const pairs: [number, number][] =
    rows.length > columns.length
      ? minimumCostColumns(columns.map((column) => rows.map((row) => cost(row, column)))).map(
          (row, column) => [rows[row], columns[column]],
        )
      : minimumCostColumns(rows.map((row) => columns.map((column) => cost(row, column)))).map(
          (column, row) => [rows[row], columns[column]],
        );
  return pairs.filter((pair) => isAllowed(...pair)).sort((a, b) => a[0] - b[0]);
}

/** The column of each row (n <= m) with the least total cost. */
function minimumCostColumns(cost: number[][]): number[] {
  const n = cost.length;
  const m = cost[0].length;
  const rowPotential = new Array<number>(n).fill(0);
  const columnPotential = new Array<number>(m).fill(0);
  const matchedRow = new Array<number>(m).fill(-1); // of each column
  for (let newRow = 0; newRow < n; newRow++) {
    // The shortest paths from the new row to each column, in reduced costs (Dijkstra).
    const distance = new Array<number>(m).fill(Infinity);
    const previous = new Array<number>(m).fill(-1); // the column before it on the path
    const done = new Array<boolean>(m).fill(false);
    let row = newRow;
    let pathLength = 0;
    let column = -1;
    for (;;) {
      let nearest = -1;
      for (let other = 0; other < m; other++) {
        if (done[other]) continue;
        const candidate = pathLength + cost[row][other] - rowPotential[row] - columnPotential[other];
        if (candidate < distance[other]) {
          distance[other] = candidate;
          previous[other] = column;
        }
        if (nearest < 0 || distance[other] < distance[nearest]) nearest = other;
      }
      column = nearest;
      pathLength = distance[column];
      done[column] = true;
      if (matchedRow[column] < 0) break;
      row = matchedRow[column];
    }
    // Potentials change so that every reduced cost stays at least 0, and is 0 along the path.
    for (let other = 0; other < m; other++) {
      if (!done[other] || other === column) continue;
      const change = pathLength - distance[other];
      rowPotential[matchedRow[other]] += change;
      columnPotential[other] -= change;
    }
    rowPotential[newRow] += pathLength;
    while (column >= 0) {
      // Each column on the path takes the row of the one before it.
      const before = previous[column];
      matchedRow[column] = before >= 0 ? matchedRow[before] : newRow;
      column = before;
    }
  }
  const matches = new Array<number>(n).fill(-1);
  matchedRow.forEach((row, column) => {
    if (row >= 0) matches[row] = column;
  });
  return matches;
}
