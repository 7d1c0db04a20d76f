"""``slimpose compare``: cost, time and accuracy of pose systems in one table."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

import slimpose
from slimpose.adapters.open_model import open_model
from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_output_paths
from slimpose.compare.measure import measure_ap, time_models
from slimpose.compare.plot import plot_comparison
from slimpose.compare.report import to_markdown
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.formats import coco
from slimpose.formats.files import write_json, write_text
from slimpose.runtime.machine import read_machine
from slimpose.tasks import Task

_WHOLE_IMAGES = "It gets whole images, no boxes: its time is per image, its AP end to end."
_NOTES: Mapping[Task, str] = {
    "bottom-up": _WHOLE_IMAGES,
    "one-stage": _WHOLE_IMAGES,
    "detect": "A person detector: its time is per image, its AP that of its boxes, all people.",
}


def compare(
    names: Annotated[tuple[str, ...], "NAME"],
    /,
    annotations: Path | None = None,
    images: Path | None = None,
    out: Path | None = None,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 40,
    seconds: float = 120.0,
    json: bool = False,
) -> int:
    """Compare pose systems: cost, time, accuracy measured here, accuracy as published.

    Args:
        names: Shipped models, networks of slimpose cost, or model files (.onnx, .tflite:
            slimpose's, MoveNet, BlazePose, SimCC, heatmaps; .pb: tf-pose; .safetensors: weights,
            for example from import-weights), in the order of the table; or all: the shipped pose
            models, the paper's network and every system it is compared with there (many minutes).
        annotations: COCO annotation file to measure AP on, for systems that have weights.
        images: Folder of its images.
        out: Folder for compare.md, compare.json and compare.svg (needs the extra plot).
        threads: Numbers of threads to time with; the plot shows the first.
        rounds: Timed calls of each model at each number of threads; 0 leaves the times out.
        seconds: Time limit for each number of threads: no further round starts after it.
        json: Print one JSON object; the table goes to standard error.
    """
    _check(annotations, images, threads, rounds, seconds)
    if out is not None:
        check_output_paths({}, {"--out": out}, [])
        importlib.import_module("matplotlib")  # fails now and not after minutes of work
    from slimpose.compare.systems import complete_row, model_file, rows_of_names

    truth = None if annotations is None else coco.read(annotations, keypoints=True)
    if truth is not None and images is not None:
        truth.check_images(images)
    console = Console(stderr=True)
    rows = rows_of_names(names)
    files: dict[int, Path] = {}
    for number, row in enumerate(rows):
        if row.model and (rounds or row.weights):
            console.print(f"opening {row.system} {row.size}")
            files[number] = model_file(row)
            complete_row(row, files[number])
    timed_threads = threads if rounds else ()
    for count in timed_threads:
        console.print(f"timing with {counted(count, 'thread')}")
        times = time_models(files, threads=count, rounds=rounds, seconds=seconds)
        for number, ms in times.items():
            rows[number].ms[count] = ms
    if truth is not None and images is not None:
        for number, path in files.items():
            if rows[number].weights:
                console.print(f"measuring {rows[number].system}")
                model = open_model(path, threads=max(threads))
                rows[number].measured = measure_ap(model, truth, images)
                rows[number].note = _NOTES.get(model.info.task, rows[number].note)
    measured_on, cpu = _people(truth), read_machine().cpu
    table = to_markdown(rows, threads=timed_threads, measured_on=measured_on, machine=cpu)
    systems = [asdict(row) for row in rows]
    if out is not None:
        about: dict[str, Any] = {"slimpose": slimpose.__version__, "cpu": cpu}
        write_text(out / "compare.md", table)
        write_json(out / "compare.json", {**about, "measured_on": measured_on, "systems": systems})
        plot_comparison(rows, out / "compare.svg", threads=threads[0])
    print(table, file=sys.stderr if json else sys.stdout)
    if json:
        print(dumps({"systems": systems}))
    return 0


def _check(
    annotations: Path | None,
    images: Path | None,
    threads: Sequence[int],
    rounds: int,
    seconds: float,
) -> None:
    if (annotations is None) != (images is None):
        raise ValueError("--annotations and --images go together: expected both, or neither")
    if rounds < 0 or not seconds > 0 or not threads or min(threads) < 1:
        raise ValueError(
            f"--rounds {rounds}, --seconds {seconds:g}, --threads {threads}; "
            "expected 0 or more, more than 0, 1 or more"
        )


def _people(truth: coco.CocoFile | None) -> str:
    if truth is None:
        return ""
    people = sum(len(found.scores) for found in ground_truth_boxes(truth).values())
    images = counted(len(truth.images), "image")
    return f"{counted(people, 'person')} in {images} of {truth.path.name}"
