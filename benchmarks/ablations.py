"""Train and evaluate every ablation recipe on small data; write the table and the plot.

    D=../shared/data; python benchmarks/ablations.py --train $D/pose/person_keypoints.json --images
    $D/pose/images \
        --val $D/dev/person_keypoints.json --val-images $D/dev/images \
        --start runs/lightning-trunk.safetensors --teacher models/teacher/weights.safetensors

Nine runs of 60,000 crops at 128x96, one after another. Finished runs are not repeated, and an
interrupted run is resumed: after a stop, start the same command again. Needs matplotlib.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimpose.cli.arguments import run
from slimpose.compare.finished_runs import RunFolder, find_runs
from slimpose.compare.plot import new_pyplot, save_figure
from slimpose.formats.files import read_json, write_bytes
from slimpose.network.cost import cost_of_spec
from slimpose.train.recipe import Recipe
from slimpose.train.recipes.paper import ABLATION_NETS as NETS
from slimpose.train.recipes.paper import ablation
from slimpose.train.run import BEST, CHECKPOINT

DECODINGS = ("dark", "quarter")
DISTILLED = "distilled"
_SLIMPOSE = (sys.executable, "-c", "from slimpose.cli.main import main; main()")
_SERIES = (
    ("decoder widths", ("widths-10-8", "base", "widths-80-64", "widths-320-256"), "-"),
    ("levels", ("levels-2", "base", "levels-4"), "--"),
    ("skips", ("base", "skip-sum"), ":"),
)
_LABEL_ON_THE_LEFT = ("base", "levels-2", "widths-320-256", "distilled")
_MARKERS = dict(zip(NETS, "os^DvPX*d", strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A setting's cost and, if it was run, its AP figures in percent by decoding."""

    setting: str
    gmac: float
    params: int
    dark: dict[str, float] | None = None
    quarter: dict[str, float] | None = None
    measured_on: str = ""


def main(
    train: Path,
    images: Path,
    val: Path,
    val_images: Path,
    start: Path,
    teacher: Path | None = None,
    runs: Path = Path("runs/ablations"),
    docs: Path = Path("docs"),
    threads: int | None = None,
    length: float = 1.0,
    only: tuple[str, ...] = tuple(NETS),
) -> None:
    """Run the settings that are not finished, then write ablations.md and images/ablations.svg.

    Args:
        train: COCO annotation file to train on.
        images: Folder of its images.
        val: COCO annotation file to measure on.
        val_images: Folder of its images.
        start: The trunk that all runs start from.
        teacher: The teacher of the distilled setting; without it that setting is not run.
        runs: Folder for the folders of the runs.
        docs: Folder for the table and the plot.
        threads: CPU threads; the choice of each command by default.
        length: Factor on the number of samples; below 1 to try the script.
        only: Settings to run; the table has all settings.
    """
    cpu = [] if threads is None else ["--threads", threads]
    for setting in only:
        if setting not in NETS:
            raise ValueError(f"no setting is named {setting!r}; expected some of {', '.join(NETS)}")
        if setting == DISTILLED and teacher is None:
            print(f"{setting} is not run: it needs --teacher")
            continue
        data = ["--train", train, "--images", images, "--val", val, "--val-images", val_images]
        init = ["--start", start, *(["--teacher", teacher] if setting == DISTILLED else [])]
        _train(setting, runs, length, [*data, "--length", length, *cpu], init)
        for decoding in DECODINGS:
            _measure(
                runs / setting,
                decoding,
                ["--annotations", val, "--images", val_images, *cpu],
            )
    rows = collect(runs, length)
    write_bytes(docs / "ablations.md", as_markdown(rows, length).encode())
    plot(rows, docs / "images" / "ablations.svg")


def _train(setting: str, runs: Path, length: float, options: list[Any], init: list[Any]) -> None:
    out = runs / setting
    if _finished(setting, runs, length):
        return
    if (out / CHECKPOINT).is_file():
        init = ["--resume", *init[2:]]
    _call("train", f"ablation-{setting}", "--out", out, *options, *init)


def _measure(folder: Path, decoding: str, options: list[Any]) -> None:
    figures = folder / f"{decoding}.json"
    if not figures.is_file() or figures.stat().st_mtime < (folder / BEST).stat().st_mtime:
        _call("evaluate", folder / BEST, *options, "--decoding", decoding, "--json", figures)


def _call(*arguments: Any) -> None:
    print("slimpose", *arguments, flush=True)
    subprocess.run([*_SLIMPOSE, *map(str, arguments)], check=True)


def _finished(setting: str, runs: Path, length: float) -> RunFolder | None:
    """The setting's finished run.

    Raises:
        ValueError: If the folder holds another run.
    """
    run = next((run for run in find_runs(runs) if run.folder.name == setting), None)
    if run is None or not run.is_finished:
        return None
    expected = _recipe(setting, length)
    net = dataclasses.replace(expected.net, joints=run.recipe.net.joints)
    expected = dataclasses.replace(expected, net=net)
    if run.recipe != expected:
        raise ValueError(
            f"{run.folder} holds a run of other settings or length; "
            f"expected {expected.samples} crops"
        )
    return run


def _recipe(setting: str, length: float) -> Recipe:
    return ablation(setting).scaled(length) if length != 1.0 else ablation(setting)


def collect(runs: Path, length: float) -> list[Row]:
    """Return every setting, with figures if it has a finished and evaluated run."""
    rows = []
    for setting, net in NETS.items():
        cost = cost_of_spec(net)
        row = Row(setting=setting, gmac=cost.gmac, params=cost.params)
        files = [runs / setting / f"{decoding}.json" for decoding in DECODINGS]
        is_finished = runs.is_dir() and _finished(setting, runs, length)
        if is_finished and all(path.is_file() for path in files):
            dark, quarter = (read_json(path, kind="figures") for path in files)
            measured_on = (
                f"{dark['people']} people in {dark['images']} images of {dark['annotations']}"
            )
            row = dataclasses.replace(
                row, dark=_percent(dark), quarter=_percent(quarter), measured_on=measured_on
            )
        rows.append(row)
    return rows


def _percent(figures: dict[str, Any]) -> dict[str, float]:
    return {name: 100 * float(figures[name]) for name in ("AP", "AP50", "AP75")}


def as_markdown(rows: list[Row], length: float) -> str:
    """Return the table with its explanation."""
    recipe = _recipe("base", length)
    measured_on = next((row.measured_on for row in rows if row.measured_on), "nothing yet")
    lines = [
        "# Ablations on small data",
        "",
        f"`python benchmarks/ablations.py`: {recipe.samples:,} crops at {recipe.net.size} each,",
        "from the same trunk, with the same crops in the same order and one seed. AP is on",
        f"{measured_on}, with ground-truth boxes and without flip",
        "test; GMAC are true multiply-adds. `base` is 40-32x3, three levels, no skip, not",
        "distilled: the paper's choices. These are short runs on small data: they test the order",
        "of the settings, not the paper's values.",
        "",
        "| setting | GMAC | parameters | AP | AP50 | AP75 | AP without DARK (quarter cell) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = "not run | | |"
        if row.dark and row.quarter:
            aps = (*(row.dark[name] for name in ("AP", "AP50", "AP75")), row.quarter["AP"])
            figures = " | ".join(f"{ap:.1f}" for ap in aps)
        lines.append(f"| {row.setting} | {row.gmac:.3f} | {row.params:,} | {figures} |")
    by_setting = {row.setting: row.dark for row in rows if row.dark}
    if {"base", "seed-1"} <= by_setting.keys():
        noise = abs(by_setting["base"]["AP"] - by_setting["seed-1"]["AP"])
        lines += [
            "",
            f"Two seeds of `base` differ by {noise:.1f} AP: smaller differences mean nothing.",
        ]
    if by_setting:
        lines += ["", "![AP against GMAC](images/ablations.svg)"]
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], path: Path) -> None:
    """Draw AP against true GMAC in black: a marker per setting, a line style per series."""
    points = {row.setting: (row.gmac, row.dark["AP"]) for row in rows if row.dark}
    figure, axes = new_pyplot().subplots(figsize=(7, 4.5))
    for name, settings, style in _SERIES:
        line = [points[setting] for setting in settings if setting in points]
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), style, color="black", linewidth=1, label=name)
    for setting, (gmac, ap) in points.items():
        axes.plot(gmac, ap, _MARKERS[setting], color="black", markerfacecolor="white", markersize=8)
        offset, side = (-9, "right") if setting in _LABEL_ON_THE_LEFT else (9, "left")
        axes.annotate(
            setting,
            (gmac, ap),
            xytext=(offset, -17),
            textcoords="offset points",
            ha=side,
            fontsize=8,
        )
    axes.set_xscale("log")
    ticks = [0.05, 0.07, 0.1, 0.2, 0.3]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("true GMAC of a 128x96 crop")
    axes.set_ylabel("AP, ground-truth boxes, no flip")
    axes.margins(x=0.15, y=0.1)
    axes.grid(color="0.85")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
