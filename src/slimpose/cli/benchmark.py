"""``slimpose benchmark``."""

from __future__ import annotations

import itertools
import json as json_format
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

import slimpose
from slimpose.cli.counted import counted
from slimpose.cli.doctor import describe_machine, wide_console
from slimpose.measure.benchmark import (
    BenchmarkResults,
    BenchmarkSettings,
    make_videos,
    measure_memory,
    measure_speed,
)
from slimpose.measure.candidates import backend_choices, models_for_task, unique_names
from slimpose.measure.other_load import BUSY_SHARE, OtherLoad
from slimpose.measure.pipeline_latency import STAGES, opencv_threads_restored
from slimpose.measure.synthetic_video import FRAMES
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice
from slimpose.runtime.backends.available import backend_of, backends, installed_versions
from slimpose.runtime.machine import peak_memory_bytes, read_machine

ROUNDS, VIDEO_S = 50, 4.0
QUICK_ROUNDS, QUICK_S, QUICK_FRAMES = 3, 0.3, 4


def benchmark(
    model: tuple[str, ...] = (),
    detector: str = models.DEFAULT_DETECTOR,
    peers: tuple[Path, ...] = (),
    people: tuple[int, ...] = (1, 2, 5, 10),
    threads: tuple[int, ...] = (1, 2),
    backend: tuple[str, ...] = (),
    precision: tuple[str, ...] = (),
    photos: Path | None = None,
    detect_every: int = 8,
    rounds: int | None = None,
    seconds: float | None = None,
    pipeline: bool = True,
    memory: bool = True,
    quick: bool = False,
    json: bool = False,
) -> int:
    """Measure the speed of models alone, interleaved in one process, and end to end with tracking.

    The number of threads applies to everything that computes, OpenCV included.

    Args:
        model: Pose models: shipped names or files of slimpose export; all shipped ones by default.
        detector: The person detector.
        peers: Third-party files to time alongside (MoveNet, SimCC, heatmap nets, BlazePose; any
            other ONNX file for one input).
        people: Numbers of people in a call, and in a frame.
        threads: Numbers of CPU threads.
        backend: Only these backends; all installed ones by default.
        precision: Only these precisions (fp32, bf16, int8, ...); all available ones by default.
        photos: Folder of photos with the people for the synthetic videos; by default the sample
            photos.
        detect_every: Run the detector at least on every N-th frame of a video.
        rounds: Timed calls of each model; 50 by default.
        seconds: Duration of each video; 4 by default.
        pipeline: Whether to measure end to end.
        memory: Whether to measure the peak memory of each model, in a process of its own.
        quick: A fast check, not for publication: short videos and, by default, 3 rounds and 0.3
            seconds.
        json: Print one JSON object; the tables go to standard error.
    """
    default_rounds, default_s = (QUICK_ROUNDS, QUICK_S) if quick else (ROUNDS, VIDEO_S)
    rounds = default_rounds if rounds is None else rounds
    seconds = default_s if seconds is None else seconds
    _check(people=people, threads=threads, detect_every=(detect_every,), rounds=(rounds,))
    if not seconds > 0:
        raise ValueError(f"--seconds is {seconds:g}; expected a number over 0")
    paths = [models.resolve(name) for name in model] or models_for_task("pose")
    detector_path = models.resolve(detector)
    settings = BenchmarkSettings(
        choices=_choices(paths, backend, precision, is_needed=not peers),
        detector=detector_path,
        peers=peers,
        names=unique_names([*paths, detector_path, *peers]),
        people=people,
        detect_every=detect_every,
        rounds=rounds,
        seconds=seconds,
    )
    console = wide_console(stderr=json)
    machine = read_machine()
    for line in describe_machine(machine):
        console.print(line)
    if max(threads) > machine.threads:
        console.print(f"NOTE: {max(threads)} threads share {counted(machine.threads, 'processor')}")
    frames = QUICK_FRAMES if quick else FRAMES
    videos, people_source = (
        make_videos(photos, settings.detector, people, frames=frames) if pipeline else ({}, "")
    )
    results, load = BenchmarkResults(), OtherLoad()
    with opencv_threads_restored():
        for count in threads:
            measure_speed(settings, videos, count, results)
    if memory:
        results.memory = measure_memory(settings, min(threads), max(people))
    others = load.processors()
    _print_results(console, results, people_source, detect_every)
    if others is not None and others > BUSY_SHARE * machine.cores:
        console.print(
            f"NOTE: other programs kept {others:.1f} of {machine.cores} processors busy meanwhile; "
            "all times are too high: repeat this on an idle machine"
        )
    if json:
        context = {"quick": quick, "people_source": people_source, "detect_every": detect_every}
        context["busy_processors_of_others"] = others if others is None else round(others, 2)
        print(json_format.dumps(_document(results, context)))
    return 0


def _check(**numbers: Sequence[int]) -> None:
    for name, values in numbers.items():
        if not values or min(values) < 1:
            got = ", ".join(map(str, values)) or "nothing"
            raise ValueError(f"--{name.replace('_', '-')} is {got}; expected numbers of 1 or more")


def _choices(
    paths: Sequence[Path], backend: Sequence[str], precision: Sequence[str], *, is_needed: bool
) -> dict[Path, list[BackendChoice]]:
    """Return the backends and precisions of each model; none at all is an error if needed."""
    available = backends()
    choices = {
        path: backend_choices(path, available, backends=backend, precisions=precision)
        for path in paths
    }
    if is_needed and not any(choices.values()):
        for path, name in itertools.product(paths, backend):
            backend_of(path, name)  # raises the error that says what it reads
        raise ValueError(
            f"nothing here runs {', '.join(map(str, paths))} in "
            f"{', '.join([*backend, *precision])}; see slimpose doctor"
        )
    return choices


def _document(results: BenchmarkResults, context: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON output."""
    return {
        "slimpose": slimpose.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "versions": installed_versions(backends()),
        "machine": asdict(read_machine()),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **context,
        "peak_gmac_per_s": results.peak,
        "alone": results.alone,
        "pipeline": results.pipeline,
        "memory": results.memory,
        "peak_memory_mb": round((peak_memory_bytes() or 0) / 1e6, 1) or None,
    }


def _print_results(
    console: Console, results: BenchmarkResults, people_source: str, detect_every: int
) -> None:
    for threads, peaks in results.peak.items():
        rates = ", ".join(f"{name} {2 * gmac:.0f} G operations/s" for name, gmac in peaks.items())
        console.print(
            f"peak, {counted(threads, 'thread')}: {rates} (a large matrix product; 2 operations "
            "per multiply-add)"
        )
    console.print(_alone_table(results.alone))
    if any((row["share_of_peak"] or 0) > 1 for row in results.alone):
        console.print(
            "NOTE: more than 100 % of the peak: the machine was busier while that was measured"
        )
    if results.pipeline:
        title = (
            f"end to end, mean ms per frame; detector every {detect_every}; 1280x720: "
            f"{people_source}"
        )
        console.print(_pipeline_table(results.pipeline, title))
    for row in results.memory:
        console.print(
            f"memory: {row['name']}, {counted(row['people'], 'person')}: "
            f"peak {row['peak_mb']:.0f} MB ({row['before_mb']:.0f} before the model is opened); "
            f"the file has {row['file_mb']:.1f} MB"
        )


def _alone_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "model alone, precision", title="ms per call, median (p95)", title_justify="left", box=None
    )
    for column in ("threads", "people", "ms", "ms per person", "of peak"):
        table.add_column(column, justify="right")
    for row in rows:
        share = row["share_of_peak"]
        table.add_row(
            row["name"],
            str(row["threads"]),
            str(row["people"]),
            f"{row['median_ms']:.2f} ({row['p95_ms']:.2f})",
            f"{row['median_ms'] / row['people']:.2f}",
            "-" if share is None else f"{100 * share:.0f} %",
        )
    return table


def _pipeline_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    table = Table("model, precision", title=title, title_justify="left", box=None)
    for column in ("threads", "people", "detector", *STAGES, "median (p95)", "frames/s"):
        table.add_column(column, justify="right")
    for row in rows:
        people, processed = row["people"], row["people_per_frame"]
        is_exact = abs(processed - people) < 0.05
        table.add_row(
            row["name"],
            str(row["threads"]),
            f"{people}" if is_exact else f"{people} ({processed:.1f} processed)",
            f"{100 * row['detector_share']:.0f} %",
            *(f"{row['stages_ms'][stage]:.1f}" for stage in STAGES),
            f"{row['median_ms']:.1f} ({row['p95_ms']:.1f})",
            f"{row['fps']:.1f}",
        )
    return table
