"""``slimpose cost``."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

from rich.table import Table

from slimpose.arrays import Size
from slimpose.cli.doctor import wide_console
from slimpose.network.family import DETECTOR_SIZE, detector_of, family_spec
from slimpose.network.paper_tables import ROWS

if TYPE_CHECKING:
    from slimpose.network.build import Spec

_Entry = dict[str, str | int | float]


def cost(
    name: str | None = None,
    /,
    size: str | None = None,
    detector: bool = False,
    paper: bool = False,
    json: bool = False,
) -> int:
    """Print the parameters, multiply-adds and the paper's tool number of a network for one input.

    Args:
        name: Name of the network, such as b1 or hrnet-w48; an unknown name lists all.
        size: Input HEIGHTxWIDTH, multiples of 32 for most networks (default: 256x192 for crops,
            256x320 for detectors).
        detector: Use the person detector with that network's encoder instead of the pose network.
        paper: Compare every row of the paper's Tables III to VII with the cost counted here; takes
            no name and no size.
        json: Print JSON: one object, or a list of them with --paper.
    """
    if paper:
        if name is not None or size is not None or detector:
            raise ValueError(
                "--paper prints every row of the paper at its own size; "
                "expected no NAME, --size, --detector"
            )
        entries = [
            {"table": row.table, "row": row.row, **cost_entry(row.spec), "paper": row.gflops}
            for row in ROWS
        ]
    elif name is None:
        raise ValueError("got neither NAME nor --paper; expected for example: slimpose cost b1")
    else:
        entries = [_entry(name, Size.parse(size) if size is not None else None, detector=detector)]
    if json:
        print(dumps(entries if paper else entries[0], indent=1))
    else:
        wide_console().print(_table(entries))
    return 0


def _entry(name: str, size: Size | None, *, detector: bool) -> _Entry:
    if detector:
        spec = detector_of(family_spec(name), size=size or DETECTOR_SIZE)
        name = f"{name} detector"
    else:
        from slimpose.network.build import spec_named

        spec = spec_named(name, size=size)
    return {"name": name, "size": str(spec.size), **cost_entry(spec)}


def cost_entry(spec: Spec) -> _Entry:
    """Return what a network costs, as the JSON outputs of cost and fit have it."""
    from slimpose.network.cost import cost_of_spec

    cost = cost_of_spec(spec)
    return {
        "params": cost.params,
        "gmac": round(cost.gmac, 4),
        "tool": round(cost.paper_gflops, 4),
    }


_COLUMNS = {
    "name": "network",
    "size": "height x width",
    "table": "table",
    "row": "row",
    "paper": "paper's GFLOPs",
    "params": "parameters",
    "gmac": "GMAC",
    "tool": "tool number",
}
_FORMATS = {"paper": ".2f", "params": ",d", "gmac": ".3f", "tool": ".3f"}


def _table(entries: list[_Entry]) -> Table:
    table = Table()
    for key in entries[0]:
        table.add_column(
            _COLUMNS[key],
            justify="right" if key in _FORMATS else "left",
            no_wrap=key in ("name", "row"),
        )
    for entry in entries:
        table.add_row(*(format(value, _FORMATS.get(key, "")) for key, value in entry.items()))
    return table
