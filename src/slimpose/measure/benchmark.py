"""What takes turns in a benchmark: our models in every backend and precision there is, and other people's files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimpose.adapters.open_model import open_pose_model
from slimpose.runtime.auto_backend import ANY, BackendChoice, choices_for_file
from slimpose.runtime.backends.available import BackendStatus, read_metadata
from slimpose.runtime.backends.base import BackendError, file_precision
from slimpose.runtime.onnx_file import INPUT_TYPES, open_onnx_file
from slimpose.runtime.session import Model, Session

MakeCall = Callable[[int], Callable[[], object] | None]
"""Gives what is to be timed for a number of people; None where it cannot take so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkEntry:
    """Something to time.

    Attributes:
        name: Model, backend and precision; or a peer's file.
        threads: CPU threads it was opened with.
        gmac: True multiply-adds of one input, in 1e9; nan if unknown.
        precision: It computes in.
        call: See ``MakeCall``.
        session: Ours; None for a peer.
    """

    name: str
    threads: int
    gmac: float
    precision: str
    call: MakeCall
    session: Session | None


def backend_choices(
    path: Path,
    found: Mapping[str, BackendStatus],
    *,
    backends: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> list[BackendChoice]:
    """Return the backends and precisions to time a file of ours with.

    Args:
        path: The file.
        found: The backends of this machine.
        backends: Only these; all that are there by default.
        precisions: Only these; all by default. The file's own is named as such: "fp32", "int8".

    Raises:
        BackendError: If one of ``backends`` is not there.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file.
    """
    for name in backends:
        if name not in found:
            raise BackendError(f"no backend is named {name!r}; expected some of {', '.join(found)}")
        if found[name].install:
            raise BackendError(f"{name} is not there: {found[name].install}")
    own = file_precision(read_metadata(path))
    return [
        choice
        for choice in choices_for_file(path, ANY, found)
        if (not backends or choice.backend in backends)
        and (not precisions or (choice.precision or own) in precisions)
    ]


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return what to call each file: its stem, or its whole path where several have that stem."""
    stems = Counter(path.stem for path in set(paths))
    return {path: path.stem if stems[path.stem] == 1 else str(path) for path in paths}


def model_entry(path: Path, choice: BackendChoice, *, name: str, threads: int) -> BenchmarkEntry:
    """Return a file of ours, opened.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model of ours.
    """
    session = Session(path, threads=threads, backend=choice.backend, precision=choice.precision)
    return BenchmarkEntry(
        name=f"{name} {session.backend} {session.precision}",
        threads=threads,
        gmac=session.info.gmac,
        precision=session.precision,
        call=_call_of(session),
        session=session,
    )


def peer_entry(path: Path, *, name: str, threads: int) -> BenchmarkEntry:
    """Return somebody else's file, opened: a pose model that an adapter knows, or else any ONNX graph, of one input.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file, or needs a package that is not installed.
    """
    try:
        model = open_pose_model(path, threads=threads)
    except ValueError:
        if path.suffix.lower() != ".onnx":
            raise
        call = _raw_call(path, threads)
    else:
        call = _call_of(model)
    return BenchmarkEntry(
        name=name,
        threads=threads,
        gmac=float("nan"),
        precision="as published",
        call=call,
        session=None,
    )


def _call_of(model: Model) -> MakeCall:
    outputs = [name for name in model.outputs if name not in ("heatmaps", "covariances")] or list(
        model.outputs
    )
    rng = np.random.default_rng(0)

    def call(people: int) -> Callable[[], object] | None:
        if model.info.task != "pose" and people > 1:
            return None
        batch = rng.integers(0, 256, (people, *model.info.size, 3), dtype=np.uint8)
        return lambda: model.run(batch, outputs)

    return call


def _raw_call(path: Path, threads: int) -> MakeCall:
    session = open_onnx_file(path, threads=threads)
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for put in session.get_inputs():
        if put.type not in INPUT_TYPES:
            raise ValueError(
                f"{path} takes {put.name} of {put.type}; expected one of {', '.join(INPUT_TYPES)}"
            )
        shape = [size if isinstance(size, int) else 1 for size in put.shape]
        inputs[put.name] = rng.integers(0, 256, shape).astype(INPUT_TYPES[put.type])

    def call(people: int) -> Callable[[], object] | None:
        return None if people > 1 else lambda: session.run(None, inputs)

    return call


_MEMORY_S = 600.0
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
    """Return the most memory, in 1e6 bytes, of a process that runs a file: before it opens it, and in all.

    A process of its own each, since what one backend leaves behind would count for the next. None
    where the system does not tell, it cannot be run, or it is not done after ten minutes.
    """
    words = [str(path), str(threads), choice.backend, choice.precision or "", str(people)]
    program = [sys.executable, "-c", _MEMORY_PROGRAM, *words]
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=_MEMORY_S
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return None
    before, after = json.loads(done.stdout.splitlines()[-1])
    return None if before is None else (before / 1e6, after / 1e6)
