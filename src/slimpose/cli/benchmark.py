"""``slimpose benchmark``."""

from __future__ import annotations

import itertools
import json as json_format
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

import slimpose
from slimpose.cli.doctor import machine_lines
from slimpose.measure.benchmark import (
    BenchmarkEntry,
    backend_choices,
    memory_mb,
    model_entry,
    peer_entry,
    unique_names,
)
from slimpose.measure.peak_throughput import SIDE, peak_gmac_per_s
from slimpose.measure.pipeline_latency import STAGES, time_pipeline
from slimpose.measure.synthetic_video import FRAMES, SyntheticVideo, make_video, sample_people
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice, companion_choice
from slimpose.runtime.backends.available import backend_of, backends, installed_versions
from slimpose.runtime.detector import Detector
from slimpose.runtime.machine import peak_memory_bytes, read_machine
from slimpose.runtime.session import Session, models_of_task
from slimpose.runtime.timing import time_interleaved

ROUNDS, FILM_S = 50, 4.0
QUICK_ROUNDS, QUICK_S, QUICK_SIDE, QUICK_FRAMES = 3, 0.3, 256, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """How long all of it may take."""

    rounds: int
    seconds: float
    side: int
    frames: int


@dataclass(slots=True, kw_only=True)
class _Results:
    """What was measured, as it goes into the JSON line."""

    alone: list[dict[str, Any]] = field(default_factory=list)
    pipeline: list[dict[str, Any]] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)
    peak: dict[int, dict[str, float]] = field(default_factory=dict)


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
) -> int:
    """Measure speed: models alone, taking turns in this process, and the whole way from a picture to people with ids.

    Whatever computes is told the number of threads, OpenCV too. The last line is JSON.

    Args:
        model: Pose models: shipped names or files of slimpose export; all shipped ones by default.
        detector: The person detector.
        peers: Files to time beside them (MoveNet, SimCC, heatmap nets, BlazePose; any other ONNX
            file for one input).
        people: Numbers of people in a call, and in a picture.
        threads: Numbers of CPU threads.
        backend: Only these; all that are there by default.
        precision: Only these (fp32, bf16, int8, ...); all that are there by default.
        photos: Folder of photos whose people the films show; the sample photos, or a drawn figure
            where they are not.
        detect_every: The detector looks at every N-th picture of a film (at the latest).
        rounds: Timed calls of each model; 50 by default.
        seconds: How long each film is gone through; 4 by default.
        pipeline: Whether to measure the whole way.
        memory: Whether to measure the most memory of each, in a process of its own.
        quick: A fast look, whose figures are not for a table: short films, a small matrix product,
            and, unless told otherwise, 3 calls and 0.3 seconds.
    """
    bounds = _Bounds(
        rounds=rounds if rounds is not None else QUICK_ROUNDS if quick else ROUNDS,
        seconds=seconds if seconds is not None else QUICK_S if quick else FILM_S,
        side=QUICK_SIDE if quick else SIDE,
        frames=QUICK_FRAMES if quick else FRAMES,
    )
    _check(people=people, threads=threads, detect_every=(detect_every,), rounds=(bounds.rounds,))
    if not bounds.seconds > 0:
        raise ValueError(f"--seconds is {bounds.seconds:g}; expected a number over 0")
    paths = [models.resolve(name) for name in model] or _shipped_pose_models()
    finder, found, machine = models.resolve(detector), backends(), read_machine()
    tried = {
        path: backend_choices(path, found, backends=backend, precisions=precision) for path in paths
    }
    if not any(tried.values()) and not peers:
        for path, name in itertools.product(paths, backend):
            backend_of(path, name)  # tells what it reads
        asked = ", ".join([*backend, *precision])
        raise ValueError(
            f"nothing here runs {', '.join(map(str, paths))} in {asked}; see slimpose doctor"
        )
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, 130)
    for line in machine_lines(machine):
        console.print(line)
    if max(threads) > machine.threads:
        console.print(f"NOTE: {max(threads)} threads share {machine.threads} processors")
    results, called = _Results(), unique_names([*paths, finder, *peers])
    films, cast = _synthetic_videos(photos, finder, people, bounds) if pipeline else ({}, "")
    before = cv2.getNumThreads()
    try:
        for count in threads:
            cv2.setNumThreads(count)
            _measure(
                results, tried, finder, peers, called, films, people, count, detect_every, bounds
            )
    finally:
        cv2.setNumThreads(before)
    if memory:
        _measure_memory(results, tried, called, threads=min(threads), people=max(people))
    _show(console, results, cast, detect_every)
    document = {
        "slimpose": slimpose.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "versions": installed_versions(found),
        "machine": asdict(machine),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "quick": quick,
        "people_are": cast,
        "detect_every": detect_every,
        "peak_gmac_per_s": results.peak,
        "alone": results.alone,
        "pipeline": results.pipeline,
        "memory": results.memory,
        "peak_memory_mb": round((peak_memory_bytes() or 0) / 1e6, 1) or None,
    }
    print(json_format.dumps(document))
    return 0


def _check(**numbers: Sequence[int]) -> None:
    for name, values in numbers.items():
        if not values or min(values) < 1:
            given = ", ".join(map(str, values)) or "nothing"
            raise ValueError(
                f"--{name.replace('_', '-')} is {given}; expected numbers of 1 or more"
            )


def _shipped_pose_models() -> list[Path]:
    paths = models_of_task("pose", models.shipped().values())
    if not paths:
        raise RuntimeError(
            f"no pose models in {models.WEIGHTS}: this package was built without weights; give --model"
        )
    return paths


def _synthetic_videos(
    photos: Path | None, detector: Path, people: Sequence[int], bounds: _Bounds
) -> tuple[dict[int, SyntheticVideo], str]:
    """A film for every number of people, and whom they show."""
    patches, cast = sample_people(photos, Detector(Session(detector)))
    films = {count: make_video(patches, count, frames=bounds.frames) for count in people}
    if max(people) > len(patches):
        cast += f"; repeated where a film shows more than {len(patches)}"
    return films, cast


def _measure(
    results: _Results,
    tried: Mapping[Path, Sequence[BackendChoice]],
    detector: Path,
    peers: Sequence[Path],
    called: Mapping[Path, str],
    films: Mapping[int, SyntheticVideo],
    people: Sequence[int],
    threads: int,
    detect_every: int,
    bounds: _Bounds,
) -> None:
    """All of one number of threads."""
    choices = [(path, choice) for path, some in tried.items() for choice in some]
    ours = [
        model_entry(path, choice, name=called[path], threads=threads) for path, choice in choices
    ]
    finders = {
        choice: model_entry(detector, choice, name=called[detector], threads=threads)
        for choice in dict.fromkeys(companion_choice(choice) for _, choice in choices)
    }
    others = [peer_entry(path, name=called[path], threads=threads) for path in peers]
    results.peak[threads] = {
        name: round(gmac, 2)
        for name, gmac in peak_gmac_per_s(
            threads, side=bounds.side, rounds=max(3, bounds.rounds // 4)
        ).items()
    }
    every = [*ours, *others, *finders.values()]
    for count in people:
        calls = {
            str(place): call
            for place, one in enumerate(every)
            if (call := one.call(count)) is not None
        }
        for place, times in time_interleaved(calls, rounds=bounds.rounds).items():
            one = every[int(place)]
            results.alone.append(
                {
                    "name": one.name,
                    "threads": threads,
                    "people": count,
                    "median_ms": round(times.median_ms, 3),
                    "p95_ms": round(times.p95_ms, 3),
                    "share_of_peak": _share(one, count, times.median_ms, results.peak[threads]),
                }
            )
    for count, film in films.items():
        for one, (_, choice) in zip(ours, choices, strict=True):
            finder = finders[companion_choice(choice)]
            assert one.session is not None
            assert finder.session is not None
            times = time_pipeline(
                one.session, finder.session, film, detect_every=detect_every, seconds=bounds.seconds
            )
            results.pipeline.append(
                {
                    "name": one.name,
                    "detector": finder.name,
                    "threads": threads,
                    "people": count,
                    "people_looked_at": round(times.people, 2),
                    "detector_looked_at": round(times.detections, 3),
                    "fps": round(times.fps, 2),
                    "median_ms": round(times.step.median_ms, 3),
                    "p95_ms": round(times.step.p95_ms, 3),
                    "stages_ms": {stage: round(ms, 3) for stage, ms in times.stages_ms.items()},
                }
            )


def _share(
    one: BenchmarkEntry, people: int, median_ms: float, peak: Mapping[str, float]
) -> float | None:
    """Multiply-adds a second as a share of the matrix product's; INT8 against INT8, all others against FP32."""
    if math.isnan(one.gmac):
        return None
    return round(
        people
        * one.gmac
        / (median_ms / 1e3)
        / peak["int8" if one.precision.startswith("int8") else "fp32"],
        3,
    )


def _measure_memory(
    results: _Results,
    tried: Mapping[Path, Sequence[BackendChoice]],
    called: Mapping[Path, str],
    *,
    threads: int,
    people: int,
) -> None:
    for path, some in tried.items():
        for choice in some:
            found = memory_mb(path, choice, threads=threads, people=people)
            if found is not None:
                results.memory.append(
                    {
                        "name": f"{called[path]} {choice}",
                        "threads": threads,
                        "people": people,
                        "before_mb": round(found[0], 1),
                        "peak_mb": round(found[1], 1),
                        "file_mb": round(path.stat().st_size / 1e6, 2),
                    }
                )


def _show(console: Console, results: _Results, cast: str, detect_every: int) -> None:
    for threads, peaks in results.peak.items():
        said = ", ".join(f"{name} {2 * gmac:.0f} G operations/s" for name, gmac in peaks.items())
        console.print(
            f"peak, {threads} threads: {said} (a large matrix product; 2 operations a multiply-add)"
        )
    table = Table(
        "model alone, precision", title="ms a call, median (p95)", title_justify="left", box=None
    )
    for column in ("threads", "people", "ms", "ms a person", "of peak"):
        table.add_column(column, justify="right")
    for row in results.alone:
        share = "-" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %"
        table.add_row(
            row["name"],
            str(row["threads"]),
            str(row["people"]),
            f"{row['median_ms']:.2f} ({row['p95_ms']:.2f})",
            f"{row['median_ms'] / row['people']:.2f}",
            share,
        )
    console.print(table)
    if results.pipeline:
        heading = (
            f"the whole way, mean ms a picture; detector every {detect_every}; 1280x720: {cast}"
        )
        table = Table("model, precision", title=heading, title_justify="left", box=None)
        for column in ("threads", "people", "detector", *STAGES, "median (p95)", "pictures/s"):
            table.add_column(column, justify="right")
        for row in results.pipeline:
            seen = row["people_looked_at"]
            table.add_row(
                row["name"],
                str(row["threads"]),
                f"{row['people']}"
                if abs(seen - row["people"]) < 0.05
                else f"{row['people']} (seen {seen:.1f})",
                f"{100 * row['detector_looked_at']:.0f} %",
                *(f"{row['stages_ms'][stage]:.1f}" for stage in STAGES),
                f"{row['median_ms']:.1f} ({row['p95_ms']:.1f})",
                f"{row['fps']:.1f}",
            )
        console.print(table)
    for row in results.memory:
        console.print(
            f"memory: {row['name']}, {row['people']} people: {row['peak_mb']:.0f} MB at most "
            f"({row['before_mb']:.0f} before the model is opened); the file has {row['file_mb']:.1f} MB"
        )
