"""``slimpose cost``."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from slimpose.arrays import Size
from slimpose.network.build import spec_named
from slimpose.network.cost import cost_of_spec
from slimpose.network.family import DETECTOR_SIZE, detector_of, family_spec
from slimpose.network.paper_tables import ROWS

_Entry = dict[str, str | int | float]


def cost(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None,
    /,
    size: str | None = None,
    detector: bool = False,
    paper: bool = False,
    json: bool = False,
) -> int:
    """Tell the parameters, the true multiply-adds and the paper's tool number of a network for one crop.

    Args:
        name: Name of the net, such as b1 or hrnet-w48; a wrong one lists them.
        size: Input HEIGHTxWIDTH, multiples of 32 for most; 256x192 by default for a crop, 256x320
            for a detector.
        detector: The person detector with that net's encoder instead of the pose net.
        paper: Every row of the paper's Tables III to VII beside what is counted here; takes no
            name, no size.
        json: Print JSON: one object, with --paper a list of them.
    """
    if paper:
        if name is not None or size is not None or detector:
            raise ValueError(
                "--paper tells every row of the paper at its own size; expected no NAME, --size, --detector"
            )
        entries = _paper_entries()
    elif name is None:
        raise ValueError("got neither NAME nor --paper; expected for example: slimpose cost b1")
    else:
        entries = [_entry(name, Size.parse(size) if size is not None else None, detector=detector)]
    if json:
        print(dumps(entries if paper else entries[0], indent=1))
    else:
        Console().print(_table(entries))
    return 0


def _entry(name: str, size: Size | None, *, detector: bool) -> _Entry:
    if detector:
        spec = detector_of(family_spec(name), size=size or DETECTOR_SIZE)
        name = f"{name} detector"
    else:
        spec = spec_named(name, size=size)
    found = cost_of_spec(spec)
    return {
        "name": name,
        "size": str(spec.size),
        "params": found.params,
        "gmac": round(found.gmac, 4),
        "tool": round(found.paper_gflops, 4),
    }


def _paper_entries() -> list[_Entry]:
    entries: list[_Entry] = []
    for row in ROWS:
        found = cost_of_spec(row.spec)
        entries.append(
            {
                "table": row.table,
                "row": row.row,
                "paper": row.gflops,
                "tool": round(found.paper_gflops, 4),
                "gmac": round(found.gmac, 4),
                "params": found.params,
            }
        )
    return entries


_COLUMNS = {
    "name": "net",
    "size": "height x width",
    "table": "table",
    "row": "row",
    "paper": "paper's GFLOPs",
    "params": "parameters",
    "gmac": "GMAC",
    "tool": "tool number",
}
_WRITTEN = {"paper": ".2f", "params": ",d", "gmac": ".3f", "tool": ".3f"}


def _table(entries: list[_Entry]) -> Table:
    table = Table()
    for key in entries[0]:
        table.add_column(
            _COLUMNS[key],
            justify="right" if key in _WRITTEN else "left",
            no_wrap=key in ("name", "row"),
        )
    for entry in entries:
        table.add_row(*(format(value, _WRITTEN.get(key, "")) for key, value in entry.items()))
    return table
