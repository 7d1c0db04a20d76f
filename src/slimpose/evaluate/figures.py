"""Pictures drawn with matplotlib: without a screen, and the same file for the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slimpose.formats.files import replace_when_done


def new_pyplot() -> Any:
    """Return ``matplotlib.pyplot``, made ready.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "slimpose"  # the same picture is the same file
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure whole, as SVG or PNG by the file's name, and close it."""
    from matplotlib import pyplot

    figure.tight_layout()
    with replace_when_done(path) as partial:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(partial, format=path.suffix.removeprefix("."), metadata=metadata, dpi=110)
    pyplot.close(figure)
