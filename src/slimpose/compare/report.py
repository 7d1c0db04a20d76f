"""Pose systems side by side: one entry each, as a Markdown table and as a picture.

What was measured here and what a paper printed stay apart everywhere: their people, boxes and flip
tests differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slimpose.evaluate.figures import new_pyplot, save_figure


@dataclass(slots=True, kw_only=True)
class ComparisonRow:
    """One system.

    Attributes:
        system: What it is called.
        model: The net's name or the model's file; empty if there is nothing to run.
        size: Input height and width.
        weights: Where its weights are from; empty if there are none.
        runs_in: The backend and the precision it computes in; empty if it was not opened.
        params: Parameters.
        gmac: True multiply-adds of one input in 1e9.
        tool: The paper's way of counting them.
        ms: Median milliseconds a person by number of threads.
        measured: COCO figures 0..1, measured here.
        published_ap: What its authors print, in percent.
        protocol: On what.
        note: What has to be known beside the figures.
    """

    system: str
    model: str = ""
    size: str = ""
    weights: str = ""
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
    """Return the table, with what has to be known to read it.

    Args:
        entries: Its rows.
        threads: The numbers of threads that were timed.
        measured_on: The people behind the measured AP; empty if none was measured.
        machine: What the times were taken on.
    """
    timed = [f"ms, {count} thr." for count in threads]
    head = [
        "system",
        "input",
        "runs in",
        "M params",
        "GMAC",
        "tool",
        *timed,
        "AP here",
        "published AP",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    notes: list[str] = []
    protocols = {entry.protocol for entry in rows if entry.protocol}
    most_common = max(
        sorted(protocols), key=[entry.protocol for entry in rows].count, default=""
    )
    for entry in rows:
        mark = ""
        about = [entry.note] if entry.note else []
        if entry.published_ap is not None and entry.protocol != most_common:
            about.insert(0, f"Published AP: {entry.protocol}.")
        if about:
            note = " ".join(about)
            notes += [note] if note not in notes else []
            mark = f" [{notes.index(note) + 1}]"
        ap = (
            f"{100 * entry.measured['AP']:.1f}"
            if entry.measured
            else "no weights"
            if not entry.weights
            else "-"
        )
        cells = [
            entry.system + mark,
            entry.size,
            entry.runs_in or "-",
            _number(entry.params and entry.params / 1e6, 2),
            _number(entry.gmac, 3),
            _number(entry.tool, 2),
            *(_number(entry.ms.get(count), 1) for count in threads),
            ap,
            _number(entry.published_ap, 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Milliseconds a person, from a cut crop to points, batch 1, in turn in one process: {machine}.",
        "GMAC: true multiply-adds in 1e9; tool: the paper's count. Nets without weights are timed with random ones.",
    ]
    if measured_on:
        lines.append(f"AP here: {measured_on}, ground-truth boxes, no flip test.")
    if most_common:
        lines.append(
            f"Published AP: {most_common}, unless a note says otherwise; not to be compared with AP here."
        )
    return "\n".join(lines + [f"[{i}] {note}" for i, note in enumerate(notes, start=1)]) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


_OURS, _MEASURED, _PUBLISHED = (
    ("D", "black", "white", "slimpose, measured here, no flip"),
    ("s", "0.75", "black", "measured here, no flip"),
    ("o", "white", "black", "as published: other boxes, flip test"),
)
"""Mark, its color, its number's, and what it stands for."""


def plot_comparison(rows: Sequence[ComparisonRow], path: Path, *, threads: int) -> None:
    """Draw AP against GMAC and against milliseconds, readable in black and white: round marks are published figures.

    Args:
        entries: What to draw; those without AP, cost or time are left out of the panel that needs
            it.
        path: The SVG or PNG file to write.
        threads: The number of threads whose times are drawn.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If no entry has an AP.
    """
    pyplot = new_pyplot()
    if not any(_ap(entry) for entry in rows):
        raise ValueError(
            "there is no AP to draw: give --annotations and --images, or systems with a published one"
        )
    figure, (*panels, beside) = pyplot.subplots(1, 3, figsize=(14, 6.4), width_ratios=(5, 5, 2.6))
    panels[1].sharey(panels[0])
    drawn = [(entry, *found) for entry in rows if entry.gmac or entry.ms for found in _ap(entry)]
    horizontal = (
        ("true GMAC of one input", lambda entry: entry.gmac),
        (
            f"ms a person, {threads} thread{'s' * (threads > 1)}",
            lambda entry: entry.ms.get(threads),
        ),
    )
    for axes, (label, cost_of) in zip(panels, horizontal, strict=True):
        for number, (entry, ap, is_measured) in enumerate(drawn, start=1):
            cost = cost_of(entry)
            if cost is None:
                continue
            mark, fill, ink, _ = (
                (_OURS if entry.weights == "shipped" else _MEASURED) if is_measured else _PUBLISHED
            )
            axes.plot(cost, ap, mark, color="black", markerfacecolor=fill, markersize=13)
            axes.annotate(str(number), (cost, ap), color=ink, fontsize=7, ha="center", va="center")
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("AP")
        axes.grid(color="0.88", which="both")
        axes.set_axisbelow(True)
        axes.margins(x=0.08, y=0.08)
    for mark, fill, _, told in (_OURS, _MEASURED, _PUBLISHED):
        beside.plot([], [], mark, color="black", markerfacecolor=fill, label=told)
    beside.legend(frameon=False, loc="lower left", fontsize=8, borderaxespad=0)
    beside.set_axis_off()
    key = [
        f"{number}  {entry.system}" + ("" if is_measured else f" {entry.size}")
        for number, (entry, _, is_measured) in enumerate(drawn, start=1)
    ]
    beside.text(
        0, 1, transform=beside.transAxes, s="\n".join(key), fontsize=8, va="top", linespacing=1.5
    )
    save_figure(figure, path)


def _ap(entry: ComparisonRow) -> list[tuple[float, bool]]:
    """An entry's APs in percent, and whether each was measured here."""
    found = [(100 * entry.measured["AP"], True)] if entry.measured else []
    return found + ([(entry.published_ap, False)] if entry.published_ap is not None else [])
