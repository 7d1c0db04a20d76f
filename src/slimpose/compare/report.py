"""A comparison of pose systems as a Markdown table, one row per system.

Figures measured here and figures printed in papers stay in separate columns: their people, boxes
and flip tests differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slimpose.tasks import Task


@dataclass(slots=True, kw_only=True)
class ComparisonRow:
    """One system.

    Attributes:
        system: The system's name.
        model: The name of the network or the file of the model; empty if there is none to run.
        size: Input height and width.
        weights: Origin of the weights; empty without weights.
        task: "pose", "detect", "one-stage" or "bottom-up": a detector's AP is of its boxes.
        runs_in: The backend and the precision it computes in; empty if it was not opened.
        params: Number of parameters.
        gmac: True multiply-adds of one input in 1e9.
        tool: The same in the paper's way of counting.
        ms: Median milliseconds per person by number of threads.
        measured: COCO figures 0..1, measured here.
        published_ap: AP printed by its authors, in percent.
        protocol: What the published AP was measured on.
        note: What a reader has to know about the figures.
    """

    system: str
    model: str = ""
    size: str = ""
    weights: str = ""
    task: Task = "pose"
    runs_in: str = ""
    params: int | None = None
    gmac: float | None = None
    tool: float | None = None
    ms: dict[int, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    published_ap: float | None = None
    protocol: str = ""
    note: str = ""


def to_markdown(
    rows: Sequence[ComparisonRow], *, threads: Sequence[int], measured_on: str, machine: str
) -> str:
    """Return the comparison as a Markdown table with its footnotes.

    Times are of ``machine``, with each number of ``threads``. ``measured_on`` describes the people
    of the AP measurement; it is empty if AP was not measured.
    """
    times = [f"ms, {count} thr." for count in threads]
    head = ["system", "input", "runs in", "M params", "GMAC", "tool", *times]
    head += ["AP here", "published AP"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    protocols = [row.protocol for row in rows]
    usual_protocol = max(sorted({*protocols} - {""}), key=protocols.count, default="")
    notes: list[str] = []
    for row in rows:
        mark, note = "", _note(row, usual_protocol)
        if note:
            notes += [note] if note not in notes else []
            mark = f" [{notes.index(note) + 1}]"
        lines.append(f"| {' | '.join(_cells(row, mark, threads))} |")
    lines += [
        "",
        "Milliseconds per person, from a crop to points, batch size 1, interleaved in one process: "
        f"{machine}.",
        "GMAC: true multiply-adds in 1e9; tool: the paper's count. Networks without weights are "
        "timed with random weights.",
    ]
    if measured_on:
        lines.append(f"AP here: {measured_on}, ground-truth boxes, no flip test.")
    if usual_protocol:
        lines.append(
            f"Published AP: {usual_protocol}, unless a note says otherwise; "
            "not comparable with AP here."
        )
    return "\n".join(lines + [f"[{i}] {note}" for i, note in enumerate(notes, start=1)]) + "\n"


def _note(row: ComparisonRow, usual_protocol: str) -> str:
    is_unusual = row.published_ap is not None and row.protocol != usual_protocol
    protocol = f"Published AP: {row.protocol}." if is_unusual else ""
    return " ".join(filter(None, (protocol, row.note)))


def _cells(row: ComparisonRow, mark: str, threads: Sequence[int]) -> list[str]:
    ap = f"{100 * row.measured['AP']:.1f}" if row.measured else "-"
    return [
        row.system + mark,
        row.size,
        row.runs_in or "-",
        _number(row.params and row.params / 1e6, 2),
        _number(row.gmac, 3),
        _number(row.tool, 2),
        *(_number(row.ms.get(count), 1) for count in threads),
        ap if row.measured or row.weights else "no weights",
        _number(row.published_ap, 1),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
