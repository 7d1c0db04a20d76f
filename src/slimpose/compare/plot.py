"""Figures drawn with matplotlib, without a screen; the same data always gives the same file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slimpose.compare.report import ComparisonRow
from slimpose.formats.files import replace_when_done


def new_pyplot() -> Any:
    """Return ``matplotlib.pyplot``, configured for files.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "slimpose"  # without it the ids in an SVG file are random
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as SVG or PNG, by the file's suffix, and close it."""
    from matplotlib import pyplot

    figure.tight_layout()
    with replace_when_done(path) as partial:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(partial, format=path.suffix.removeprefix("."), metadata=metadata, dpi=110)
    pyplot.close(figure)


_OURS, _MEASURED, _PUBLISHED = (
    ("D", "black", "white", "slimpose, measured here, no flip"),
    ("s", "0.75", "black", "measured here, no flip"),
    ("o", "white", "black", "as published: other boxes, flip test"),
)
"""Marker, fill color, color of the number on it, and legend."""


def plot_comparison(rows: Sequence[ComparisonRow], path: Path, *, threads: int) -> None:
    """Draw AP against multiply-adds and against milliseconds, readable in black and white.

    Round markers are published figures. Detectors, whose AP is of boxes, are left out, as is a row
    without AP, cost or time in the panel that needs it. The file is SVG or PNG; the times are those
    with ``threads`` threads.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If no row has an AP.
    """
    pyplot = new_pyplot()
    if not any(_aps(row) for row in rows if _has_keypoints(row)):
        raise ValueError(
            "there is no AP to draw: give --annotations and --images, or systems with a published "
            "one"
        )
    figure, (*panels, key) = pyplot.subplots(1, 3, figsize=(14, 6.4), width_ratios=(5, 5, 2.6))
    panels[1].sharey(panels[0])
    points = [
        (row, *ap) for row in rows if row.gmac or row.ms for ap in _aps(row) if _has_keypoints(row)
    ]
    costs = (
        ("true GMAC of one input", lambda row: row.gmac),
        (f"ms per person, {threads} thread{'s' * (threads > 1)}", lambda row: row.ms.get(threads)),
    )
    for axes, (label, cost_of) in zip(panels, costs, strict=True):
        for number, (row, ap, is_measured) in enumerate(points, start=1):
            cost = cost_of(row)
            if cost is None:
                continue
            measured = _OURS if row.weights == "shipped" else _MEASURED
            marker, fill, ink, _ = measured if is_measured else _PUBLISHED
            axes.plot(cost, ap, marker, color="black", markerfacecolor=fill, markersize=13)
            axes.annotate(str(number), (cost, ap), color=ink, fontsize=7, ha="center", va="center")
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("AP")
        axes.grid(color="0.88", which="both")
        axes.set_axisbelow(True)
        axes.margins(x=0.08, y=0.08)
    _draw_key(key, points)
    save_figure(figure, path)


def _draw_key(axes: Any, points: Sequence[tuple[ComparisonRow, float, bool]]) -> None:
    """Draw the legend of the markers and the list of the numbered systems."""
    for marker, fill, _, text in (_OURS, _MEASURED, _PUBLISHED):
        axes.plot([], [], marker, color="black", markerfacecolor=fill, label=text)
    axes.legend(frameon=False, loc="lower left", fontsize=8, borderaxespad=0)
    axes.set_axis_off()
    text = "\n".join(
        f"{number}  {row.system}" + ("" if is_measured else f" {row.size}")
        for number, (row, _, is_measured) in enumerate(points, start=1)
    )
    axes.text(0, 1, transform=axes.transAxes, s=text, fontsize=8, va="top", linespacing=1.5)


def _has_keypoints(row: ComparisonRow) -> bool:
    return row.task != "detect"


def _aps(row: ComparisonRow) -> list[tuple[float, bool]]:
    """The APs of a system in percent, each with whether it was measured here."""
    aps = [(100 * row.measured["AP"], True)] if row.measured else []
    return aps + ([(row.published_ap, False)] if row.published_ap is not None else [])
