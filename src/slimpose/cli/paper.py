"""``slimpose paper``: the paper's tables with the results of finished runs."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from slimpose.cli.doctor import wide_console
from slimpose.network.family import family_spec
from slimpose.network.paper_tables import ROWS

if TYPE_CHECKING:
    from slimpose.compare.finished_runs import Evaluation, RunFolder

NOT_RUN = "not run"


def paper(runs: Path, json: bool = False) -> int:
    """Print the paper's Tables III to VII with the AP of own runs of its recipes.

    A row has results if the folder holds a finished run of its recipe: the run's own evaluation
    (ground-truth boxes, no flip test), and those that slimpose evaluate --json wrote into the run's
    folder. All other rows are printed as not run.

    Args:
        runs: Folder with the folders of the runs.
        json: Print JSON: a list with one object per row, each with a list of its evaluations.
    """
    if not runs.is_dir():
        raise NotADirectoryError(f"no folder of runs {runs}")
    from slimpose.compare.finished_runs import find_runs
    from slimpose.train.recipes.paper import DISTILLED, DISTILLED_AP, paper_nets, recipe_name

    nets = paper_nets()
    ours = [run for run in find_runs(runs) if nets.get(run.recipe.name) == run.recipe.net]
    finished = [run for run in ours if run.is_finished]
    entries = [
        _entry(row.table, row.row, recipe_name(row), row.gflops, row.ap, finished) for row in ROWS
    ]
    final = next(row for row in ROWS if row.spec == family_spec("b1"))
    entries.append(
        _entry("text", "256x192, distilled", DISTILLED, final.gflops, DISTILLED_AP, finished)
    )
    if json:
        print(dumps(entries, indent=1))
        return 0
    console = wide_console()
    console.print(_table(entries))
    for run in ours:
        if not run.is_finished:
            console.print(
                f"{run.folder} is left out: unfinished, {run.steps} of {run.recipe.steps} steps"
            )
    return 0


def _entry(
    table: str, row: str, recipe: str, gflops: float, ap: float, finished: list[RunFolder]
) -> dict[str, Any]:
    evaluations = [one for run in finished if run.recipe.name == recipe for one in run.evaluations]
    return {
        "table": table,
        "row": row,
        "recipe": recipe,
        "paper_gflops": gflops,
        "paper_ap": ap,
        "measured": [_evaluation(one) for one in evaluations],
    }


def _evaluation(one: Evaluation) -> dict[str, Any]:
    return {
        "ap": round(100 * one.ap, 1),
        "boxes": one.boxes,
        "flip": one.flip,
        "samples": one.samples,
        "trained_on": one.trained_on,
        "start": one.start,
        "run": str(one.folder),
    }


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table()
    for column in ("table", "row"):
        table.add_column(column, no_wrap=True)
    for column in ("paper's GFLOPs", "paper's AP"):
        table.add_column(column, justify="right")
    table.add_column("AP here", justify="right", no_wrap=True)
    table.add_column("how it was measured")
    for entry in entries:
        gflops, ap = f"{entry['paper_gflops']:.2f}", f"{entry['paper_ap']:.1f}"
        cells = [entry["table"], entry["row"], gflops, ap]
        if not entry["measured"]:
            table.add_row(*cells, NOT_RUN)
        for number, one in enumerate(entry["measured"]):
            flip = "flip" if one["flip"] else "no flip"
            data = f"{one['samples']:,} crops of {one['trained_on']}"
            how = f"{one['boxes']} boxes, {flip}; {data}; {one['run']}"
            table.add_row(*(cells if number == 0 else [""] * len(cells)), f"{one['ap']:.1f}", how)
    return table
