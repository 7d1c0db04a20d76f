"""Measurements of ``slimpose benchmark``: models alone, end to end, and their memory.

Models alone are timed interleaved in one process: slimpose's in every backend and precision, and
other people's files.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slimpose.adapters.open_model import open_model
from slimpose.measure.peak_throughput import peak_gmac_per_s
from slimpose.measure.pipeline_latency import time_pipeline
from slimpose.measure.synthetic_video import FRAMES, SyntheticVideo, make_video, sample_people
from slimpose.runtime.auto_backend import BackendChoice, companion_choice, open_choice
from slimpose.runtime.detector import Detector
from slimpose.runtime.onnx_file import INPUT_TYPES, open_onnx_file
from slimpose.runtime.session import Model, Session
from slimpose.runtime.timing import time_interleaved

MakeCall = Callable[[int], Callable[[], object] | None]
"""Returns the call to time for a number of people; None if the model cannot take as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkEntry:
    """An opened model that is timed.

    Attributes:
        name: Model, backend and precision; or the name of a third-party file.
        threads: CPU threads it was opened with.
        gmac: Multiply-adds of one input, in 1e9; nan if unknown.
        precision: The precision it computes in.
        call: See ``MakeCall``.
        session: The session of a slimpose model; None for a third-party file.
    """

    name: str
    threads: int
    gmac: float
    precision: str
    call: MakeCall
    session: Session | None


def model_entry(path: Path, choice: BackendChoice, *, name: str, threads: int) -> BenchmarkEntry:
    """Open a slimpose model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a slimpose model.
    """
    session = open_choice(path, threads, choice)
    return BenchmarkEntry(
        name=f"{name} {session.backend} {session.precision}",
        threads=threads,
        gmac=session.info.gmac,
        precision=session.precision,
        call=_model_call(session),
        session=session,
    )


def peer_entry(path: Path, *, name: str, threads: int) -> BenchmarkEntry:
    """Open a third-party file: a pose model that an adapter reads, else any ONNX file.

    Such an ONNX file is timed for one input.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file, or needs a package that is not installed.
    """
    try:
        call = _model_call(open_model(path, threads=threads))
    except ValueError:
        if path.suffix.lower() != ".onnx":
            raise
        call = _graph_call(path, threads)
    precision, gmac = "as published", float("nan")
    return BenchmarkEntry(
        name=name, threads=threads, gmac=gmac, precision=precision, call=call, session=None
    )


def _model_call(model: Model) -> MakeCall:
    skipped = ("heatmaps", "covariances")
    outputs = [name for name in model.outputs if name not in skipped] or list(model.outputs)
    rng = np.random.default_rng(0)

    def call(people: int) -> Callable[[], object] | None:
        if model.info.task != "pose" and people > 1:
            return None
        batch = rng.integers(0, 256, (people, *model.info.size, 3), dtype=np.uint8)
        return lambda: model.run(batch, outputs)

    return call


def _graph_call(path: Path, threads: int) -> MakeCall:
    session = open_onnx_file(path, threads=threads)
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for tensor in session.get_inputs():
        if tensor.type not in INPUT_TYPES:
            raise ValueError(
                f"{path} takes {tensor.name} of {tensor.type}; "
                f"expected one of {', '.join(INPUT_TYPES)}"
            )
        shape = [side if isinstance(side, int) else 1 for side in tensor.shape]
        inputs[tensor.name] = rng.integers(0, 256, shape).astype(INPUT_TYPES[tensor.type])

    def call(people: int) -> Callable[[], object] | None:
        return None if people > 1 else lambda: session.run(None, inputs)

    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings:
    """What is measured and for how long.

    Attributes:
        choices: Backends and precisions of each pose model.
        detector: The detector's file.
        peers: Third-party files to time alongside.
        names: What to call each file.
        people: Numbers of people in a call and in a frame.
        detect_every: See ``Follower``.
        rounds: Timed calls of each model.
        seconds: Duration of each video.
    """

    choices: Mapping[Path, Sequence[BackendChoice]]
    detector: Path
    peers: Sequence[Path]
    names: Mapping[Path, str]
    people: Sequence[int]
    detect_every: int
    rounds: int
    seconds: float

    @property
    def pairs(self) -> list[tuple[Path, BackendChoice]]:
        """Each pose model with each of its choices."""
        return [(path, choice) for path, choices in self.choices.items() for choice in choices]


@dataclass(slots=True, kw_only=True)
class BenchmarkResults:
    """The measurements, as rows of the JSON output."""

    alone: list[dict[str, Any]] = field(default_factory=list)
    pipeline: list[dict[str, Any]] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)
    peak: dict[int, dict[str, float]] = field(default_factory=dict)


def make_videos(
    photos: Path | None, detector: Path, people: Sequence[int], *, frames: int = FRAMES
) -> tuple[dict[int, SyntheticVideo], str]:
    """Return a video for every number of people, and a description of the people."""
    patches, description = sample_people(photos, Detector(Session(detector)))
    videos = {count: make_video(patches, count, frames=frames) for count in people}
    if max(people) > len(patches):
        description += f"; repeated in videos of more than {len(patches)}"
    return videos, description


def measure_speed(
    settings: BenchmarkSettings,
    videos: Mapping[int, SyntheticVideo],
    threads: int,
    results: BenchmarkResults,
) -> None:
    """Add the times of all models with one number of threads, which is set for OpenCV, too."""
    cv2.setNumThreads(threads)
    names = settings.names

    def opened(path: Path, choice: BackendChoice) -> BenchmarkEntry:
        return model_entry(path, choice, name=names[path], threads=threads)

    entries = [opened(*pair) for pair in settings.pairs]
    detectors = {
        choice: opened(settings.detector, choice)
        for choice in dict.fromkeys(companion_choice(choice) for _, choice in settings.pairs)
    }
    peers = [peer_entry(path, name=names[path], threads=threads) for path in settings.peers]
    alone = [*entries, *peers, *detectors.values()]
    rounds = max(3, settings.rounds // 4)
    # The peak is measured before and after the models: the machine may be busy at either time.
    before = peak_gmac_per_s(threads, rounds=rounds)
    timed = _time_alone(alone, settings)
    after = peak_gmac_per_s(threads, rounds=rounds)
    peak = {name: round(max(gmac, after[name]), 2) for name, gmac in before.items()}
    results.peak[threads] = peak
    for entry, row in timed:
        row["share_of_peak"] = share_of_peak(entry, row["people"], row["median_ms"], peak)
        results.alone.append(row)
    for people, video in videos.items():
        for entry, (_, choice) in zip(entries, settings.pairs, strict=True):
            detector = detectors[companion_choice(choice)]
            results.pipeline.append(_time_end_to_end(entry, detector, video, people, settings))


def _time_alone(
    entries: Sequence[BenchmarkEntry], settings: BenchmarkSettings
) -> list[tuple[BenchmarkEntry, dict[str, Any]]]:
    rows: list[tuple[BenchmarkEntry, dict[str, Any]]] = []
    for people in settings.people:
        calls = {
            str(index): call
            for index, entry in enumerate(entries)
            if (call := entry.call(people)) is not None
        }
        for index, times in time_interleaved(calls, rounds=settings.rounds).items():
            entry = entries[int(index)]
            row = {"name": entry.name, "threads": entry.threads, "people": people}
            row |= {"median_ms": round(times.median_ms, 3), "p95_ms": round(times.p95_ms, 3)}
            rows.append((entry, row))
    return rows


def share_of_peak(
    entry: BenchmarkEntry, people: int, median_ms: float, peak: Mapping[str, float]
) -> float | None:
    """Return multiply-adds per second as a share of the matrix product's; None if unknown.

    INT8 is compared with INT8 and FP32 with FP32; other precisions have no peak here.
    """
    precision = "int8" if entry.precision.startswith("int8") else entry.precision
    if math.isnan(entry.gmac) or precision not in peak:
        return None
    return round(people * entry.gmac / (median_ms / 1e3) / peak[precision], 3)


def _time_end_to_end(
    entry: BenchmarkEntry,
    detector: BenchmarkEntry,
    video: SyntheticVideo,
    people: int,
    settings: BenchmarkSettings,
) -> dict[str, Any]:
    assert entry.session is not None
    assert detector.session is not None
    options = {"detect_every": settings.detect_every, "seconds": settings.seconds}
    times = time_pipeline(entry.session, detector.session, video, **options)
    return {
        "name": entry.name,
        "detector": detector.name,
        "threads": entry.threads,
        "people": people,
        "people_per_frame": round(times.people_per_frame, 2),
        "detector_share": round(times.detector_share, 3),
        "fps": round(times.fps, 2),
        "median_ms": round(times.step.median_ms, 3),
        "p95_ms": round(times.step.p95_ms, 3),
        "stages_ms": {stage: round(ms, 3) for stage, ms in times.stages_ms.items()},
    }


def measure_memory(settings: BenchmarkSettings, threads: int, people: int) -> list[dict[str, Any]]:
    """Return the peak memory of every pose model and choice, where it can be measured."""
    rows: list[dict[str, Any]] = []
    for path, choice in settings.pairs:
        memory = memory_mb(path, choice, threads=threads, people=people)
        if memory is None:
            continue
        row = {"name": f"{settings.names[path]} {choice}", "threads": threads, "people": people}
        row |= {"before_mb": round(memory[0], 1), "peak_mb": round(memory[1], 1)}
        rows.append(row | {"file_mb": round(path.stat().st_size / 1e6, 2)})
    return rows


_MEMORY_TIMEOUT_S = 600.0
_MEMORY_PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from slimpose.runtime.machine import peak_memory_bytes
from slimpose.runtime.session import Session
path, threads, backend, precision, people = sys.argv[1:]
before = peak_memory_bytes()
session = Session(Path(path), threads=int(threads), backend=backend, precision=precision or None)
batch = np.zeros((int(people), *session.info.size, 3), np.uint8)
for _ in range(3):
    session.run(batch, session.outputs)
print(json.dumps([before, peak_memory_bytes()]))
"""


def memory_mb(
    path: Path, choice: BackendChoice, *, threads: int, people: int
) -> tuple[float, float] | None:
    """Return the peak memory of a process, in 1e6 bytes: before it opens a model, and after runs.

    Each is measured in a process of its own, since memory that one backend leaves allocated would
    count for the next. None if the system does not report it, or the run fails or takes over ten
    minutes.
    """
    arguments = [str(path), str(threads), choice.backend, choice.precision or "", str(people)]
    program = [sys.executable, "-c", _MEMORY_PROGRAM, *arguments]
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=_MEMORY_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return None
    before, after = json.loads(done.stdout.splitlines()[-1])
    return None if before is None else (before / 1e6, after / 1e6)
