"""``--backend auto``: which backend and precision run a model file fastest here, by a short trial that is remembered.

The trial never trades accuracy for speed unasked: without ``--precision`` only the file's own
precision is tried, which all backends compute alike; ``--precision bf16`` (fp16, ...) admits that
one alone, ``--precision any`` whatever there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.formats.files import write_json
from slimpose.runtime.backends.available import BackendStatus, backends, read_metadata, installed_versions
from slimpose.runtime.backends.base import (
    BACKENDS,
    FILE_SUFFIXES,
    NATIVE_FILE_BACKENDS,
    PRECISIONS,
    BackendError,
    file_precision,
    resolve_precision,
)
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.machine import read_machine
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

AUTO = "auto"
ANY = "any"
TRIAL_ROUNDS = 20
TRIAL_S = 1.5
CROPS_PER_CALL = 2
"""Of a trial's pose net; a detector looks at one picture a call."""
MIN_SPEEDUP = 0.95
"""The default backend is left only for one that takes at most this share of its time."""
_REMEMBERED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """A backend and a precision; "" is the file's own."""

    backend: str = "onnxruntime"
    precision: str = ""

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}".strip()


DEFAULT = BackendChoice()


def companion_choice(choice: BackendChoice) -> BackendChoice:
    """Return how an ONNX file, such as the detector's, runs beside a file that runs so."""
    return DEFAULT if choice.backend in NATIVE_FILE_BACKENDS else choice


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial found.

    Attributes:
        choice: The fastest.
        median_ms: Of a call, by ``str(Choice)``.
        failed: What could not be opened or run, and why, by ``str(Choice)``.
        is_remembered: Whether it comes from an earlier trial.
    """

    choice: BackendChoice
    median_ms: Mapping[str, float]
    failed: Mapping[str, str]
    is_cached: bool


OpenModel = Callable[[Path, int, BackendChoice], Session]


def open_session(
    path: Path, *, threads: int = 0, backend: str = "onnxruntime", precision: str = ""
) -> Session:
    """Return a model opened as the options ``--backend`` and ``--precision`` say; "auto" tries what there is.

    Raises:
        BackendError: If a name is unknown, or what was asked for is not there.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file of slimpose.
    """
    check_names(backend, precision)
    if backend != AUTO:
        return Session(path, threads=threads, backend=backend, precision=precision)
    choice = choose_backend(path, threads=threads, precision=precision).choice
    return Session(path, threads=threads, backend=choice.backend, precision=choice.precision)


def check_names(backend: str, precision: str) -> None:
    """Raise BackendError unless these are names that ``open_session`` takes."""
    if backend not in (AUTO, *BACKENDS):
        raise BackendError(
            f"no backend is named {backend!r}; expected {AUTO} or one of {', '.join(BACKENDS)}"
        )
    if precision and precision not in (ANY, *PRECISIONS):
        raise BackendError(
            f"no precision is named {precision!r}; expected {ANY} or one of {', '.join(PRECISIONS)}"
        )
    if precision == ANY and backend != AUTO:
        raise BackendError(
            f"--precision {ANY} lets --backend {AUTO} choose; expected both (got backend {backend})"
        )


def choices_for_precision(own: str, precision: str, found: Mapping[str, BackendStatus]) -> list[BackendChoice]:
    """Return what may run a file, the default first.

    Args:
        own: The file's precision.
        precision: What was asked for: "" for the file's own, one of ``PRECISIONS``, or "any".
        found: The backends by name.

    Raises:
        BackendError: If nothing that is there computes in that precision.
    """
    there = [backend for backend in found.values() if not backend.install]
    if precision in ("", own):
        return [BackendChoice(backend=backend.name) for backend in there]
    wanted = [
        BackendChoice(backend=backend.name, precision=offered)
        for backend in there
        for offered in backend.precisions
        if offered not in (own, "fp32") and precision in (ANY, offered)
    ]
    if precision == ANY:
        return [BackendChoice(backend=backend.name) for backend in there] + wanted
    if wanted:
        return wanted
    if precision in ("fp32", "int8"):
        resolve_precision("", file_precision=own, requested=precision, supported=())  # tells which file it takes
    absent = [f"{backend.name}: {backend.install}" for backend in found.values() if backend.install]
    raise BackendError(
        f"no backend here computes a file of {own} in {precision}"
        + (
            f"; not installed: {'; '.join(absent)}"
            if absent
            else " (this processor has no instructions for it)"
        )
    )


def choices_for_file(path: Path, precision: str, found: Mapping[str, BackendStatus]) -> list[BackendChoice]:
    """Return what may run this file, the default first; a file that is not ONNX has its own backend alone.

    Raises:
        BackendError: If nothing that is there computes it in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file.
    """
    own = file_precision(read_metadata(path))
    its_own = FILE_SUFFIXES.get(path.suffix.lower())
    if its_own is None:
        able = {
            name: one
            for name, one in found.items()
            if name not in NATIVE_FILE_BACKENDS and (own != "int8" or one.runs_int8)
        }
        return choices_for_precision(own, precision, able)
    if found[its_own].install:
        raise BackendError(
            f"{path} runs in {its_own} only, which is not there: {found[its_own].install}"
        )
    return choices_for_precision(own, precision, {its_own: found[its_own]})


def choose_backend(
    path: Path,
    *,
    threads: int = 0,
    precision: str = "",
    cache: Path | None = None,
    available: Mapping[str, BackendStatus] | None = None,
    open_model: OpenModel | None = None,
    seconds: float = TRIAL_S,
    refresh: bool = False,
) -> TrialResult:
    """Return the fastest backend and precision for a model file on this machine, from the cache or by a trial.

    What is remembered holds for the same weights, processor, versions, threads and precision asked
    for. A cache that is broken or cannot be written is as none.

    Args:
        path: The file.
        threads: CPU threads; 0 leaves each backend's choice.
        precision: See ``choices``.
        cache: Where trials are remembered; ``backends.json`` in the user's cache folder by default.
        found: The backends; those of this machine by default.
        open_one: Opens a session; ``Session`` by default.
        seconds: About how long a trial lasts, opening not included.
        again: Try anew and remember that, whatever was found before.

    Raises:
        BackendError: If nothing that is there computes in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file.
        RuntimeError: If none of the choices could run.
    """
    available = backends() if available is None else available
    cache = cache_folder() / "backends.json" if cache is None else cache
    candidates = choices_for_file(path, precision, available)
    if len(candidates) == 1:
        return TrialResult(choice=candidates[0], median_ms={}, failed={}, is_cached=False)
    key = _key(path, threads, precision, installed_versions(available))
    remembered = None if refresh else _remembered(cache).get(key)
    if (verdict := _verdict(remembered, candidates)) is not None:
        return verdict
    verdict = run_trial(
        path, candidates, threads=threads, open_model=open_model or _open, seconds=seconds
    )
    _remember(cache, key, verdict)
    return verdict


def run_trial(
    path: Path, candidates: Sequence[BackendChoice], *, threads: int, open_model: OpenModel, seconds: float
) -> TrialResult:
    """Open all candidates, let them take turns on the same random pictures, and return who was fastest.

    The first stays the choice unless another is clearly faster.

    Raises:
        RuntimeError: If none could be opened and run.
    """
    sessions: dict[str, Session] = {}
    failed: dict[str, str] = {}
    rng = np.random.default_rng(0)
    for candidate in candidates:
        try:
            session = open_model(path, threads, candidate)
            session.run(_pictures(session, rng), session.outputs)
            sessions[str(candidate)] = session
        except (ValueError, RuntimeError) as error:
            failed[str(candidate)] = str(error)
    if not sessions:
        raise RuntimeError(f"nothing here can run {path}: {'; '.join(failed.values())}")
    pictures = _pictures(next(iter(sessions.values())), rng)
    timed = time_interleaved(
        {name: _call(session, pictures) for name, session in sessions.items()},
        rounds=TRIAL_ROUNDS,
        seconds=seconds,
    )
    median_ms = {name: round(times.median_ms, 3) for name, times in timed.items()}
    by_name = {str(candidate): candidate for candidate in candidates}
    first = next(iter(median_ms))
    best = min(median_ms, key=lambda name: median_ms[name])
    if median_ms[best] > MIN_SPEEDUP * median_ms[first]:
        best = first
    return TrialResult(
        choice=by_name[best], median_ms=median_ms, failed=failed, is_cached=False
    )


def _open(path: Path, threads: int, choice: BackendChoice) -> Session:
    return Session(path, threads=threads, backend=choice.backend, precision=choice.precision)


def _pictures(session: Session, rng: np.random.Generator) -> np.ndarray:
    count = CROPS_PER_CALL if session.info.task == "pose" else 1
    return rng.integers(0, 256, (count, *session.info.size, 3), dtype=np.uint8)


def _call(session: Session, pictures: np.ndarray) -> Callable[[], object]:
    outputs = [name for name in session.outputs if name != "heatmaps"] or list(session.outputs)
    return lambda: session.run(pictures, outputs)


def _key(path: Path, threads: int, precision: str, packages: Mapping[str, str]) -> str:
    machine = read_machine()
    told = {
        "model": hashlib.sha256(path.read_bytes()).hexdigest(),
        "cpu": machine.cpu,
        "features": [name for name, has in machine.features.items() if has],
        "threads": threads or machine.threads,
        "precision": precision,
        "versions": dict(packages),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _remembered(cache: Path) -> dict[str, Any]:
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _verdict(entry: Any, candidates: Sequence[BackendChoice]) -> TrialResult | None:
    """A remembered verdict, if it is whole and its choice is still one."""
    try:
        choice = BackendChoice(backend=str(entry["backend"]), precision=str(entry["precision"]))
        median_ms = {str(name): float(ms) for name, ms in entry["median_ms"].items()}
        failed = {str(name): str(why) for name, why in entry["failed"].items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    if choice not in candidates:
        return None
    return TrialResult(choice=choice, median_ms=median_ms, failed=failed, is_cached=True)


def _remember(cache: Path, key: str, verdict: TrialResult) -> None:
    """Write the cache anew, whole, with the newest trial last; without a word if that cannot be done."""
    entries = {name: entry for name, entry in _remembered(cache).items() if name != key}
    kept = dict(list(entries.items())[-(_REMEMBERED - 1) :])
    kept[key] = {
        "backend": verdict.choice.backend,
        "precision": verdict.choice.precision,
        "median_ms": dict(verdict.median_ms),
        "failed": dict(verdict.failed),
    }
    try:
        write_json(cache, kept)
    except (OSError, ValueError):
        return
