"""``--backend auto``: the fastest backend and precision for a model file, by a short cached trial.

The trial never trades accuracy for speed by default: without ``--precision`` only the file's own
precision is tried, in which all backends compute the same. ``--precision bf16`` (fp16, ...) allows
only that one, ``--precision any`` all of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.formats.files import write_json
from slimpose.messages import printable
from slimpose.runtime.backends.available import (
    BACKENDS,
    FILE_SUFFIXES,
    SPECS,
    BackendStatus,
    backends,
    installed_versions,
    read_metadata,
)
from slimpose.runtime.backends.base import (
    PRECISIONS,
    BackendError,
    file_precision,
    resolve_precision,
)
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.machine import check_threads, read_machine
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

_log = logging.getLogger(__name__)

AUTO = "auto"
ANY = "any"
TRIAL_ROUNDS = 20
TRIAL_S = 1.5
CROPS_PER_CALL = 2
"""Batch size in a trial of a pose model; a detector has one image per call."""
MIN_SPEEDUP = 0.95
"""Another backend replaces the default one only if it takes at most this share of its time."""
_MAX_CACHED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """A backend, and a precision or None for the file's own."""

    backend: str = "onnxruntime"
    precision: str | None = None

    def __str__(self) -> str:
        return f"{self.backend} {self.precision or ''}".strip()


DEFAULT = BackendChoice()


def companion_choice(choice: BackendChoice) -> BackendChoice:
    """Return how to run an ONNX file, such as the detector's, next to a model run by a choice."""
    return choice if SPECS[choice.backend].reads_onnx else DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        choice: The fastest.
        median_ms: Median time of a call, by ``str(BackendChoice)``.
        failed: Why a choice could not be opened or run, by ``str(BackendChoice)``.
        is_cached: Whether the result is that of an earlier trial.
    """

    choice: BackendChoice
    median_ms: Mapping[str, float]
    failed: Mapping[str, str]
    is_cached: bool


OpenModel = Callable[[Path, int | None, BackendChoice], Session]


def open_session(
    path: Path,
    *,
    threads: int | None = None,
    backend: str = "onnxruntime",
    precision: str | None = None,
) -> Session:
    """Open a model as the options ``--backend`` and ``--precision`` say; "auto" runs a trial.

    Raises:
        BackendError: If a name is unknown, or the backend or precision is not available.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file of slimpose.
    """
    check_names(backend, precision)
    if backend != AUTO:
        return Session(path, threads=threads, backend=backend, precision=precision)
    result = choose_backend(path, threads=threads, precision=precision)
    _log.info(
        "backend auto for %s: %s, by %s%s",
        printable(str(path)),
        result.choice,
        "an earlier trial" if result.is_cached else "a trial" if result.median_ms else "necessity",
        "".join(f", {name} {ms:.1f} ms" for name, ms in result.median_ms.items()),
    )
    for name, reason in result.failed.items():
        _log.info("backend auto for %s: no %s: %s", printable(str(path)), name, printable(reason))
    return open_choice(path, threads, result.choice)


def check_names(backend: str, precision: str | None) -> None:
    """Raise BackendError unless ``open_session`` accepts these names."""
    if backend not in (AUTO, *BACKENDS):
        raise BackendError(
            f"no backend is named {backend!r}; expected {AUTO} or one of {', '.join(BACKENDS)}"
        )
    if precision not in (None, ANY, *PRECISIONS):
        raise BackendError(
            f"no precision is named {precision!r}; expected {ANY} or one of {', '.join(PRECISIONS)}"
        )
    if precision == ANY and backend != AUTO:
        raise BackendError(
            f"--precision {ANY} lets --backend {AUTO} choose; expected both (got backend {backend})"
        )


def choices_for_precision(
    own: str, precision: str | None, available: Mapping[str, BackendStatus]
) -> list[BackendChoice]:
    """Return the candidates for a file of some precision, the default first.

    Args:
        own: The file's precision.
        precision: The requested one: None for the file's own, one of ``PRECISIONS``, or "any".
        available: The backends by name.

    Raises:
        BackendError: If no installed backend computes in that precision.
    """
    installed = [backend for backend in available.values() if not backend.install]
    own_choices = [BackendChoice(backend=backend.name) for backend in installed]
    if precision in (None, own):
        return own_choices
    others = [
        BackendChoice(backend=backend.name, precision=supported)
        for backend in installed
        for supported in backend.precisions
        if supported not in (own, "fp32") and precision in (ANY, supported)
    ]
    if precision == ANY:
        return own_choices + others
    if others:
        return others
    if precision in ("fp32", "int8"):  # raises the error that names the file to use
        resolve_precision("", file_precision=own, requested=precision, supported=())
    missing = [f"{one.name}: {one.install}" for one in available.values() if one.install]
    reason = (
        f"; not installed: {'; '.join(missing)}"
        if missing
        else " (this processor has no instructions for it)"
    )
    raise BackendError(f"no backend here computes a file of {own} in {precision}{reason}")


def choices_for_file(
    path: Path, precision: str | None, available: Mapping[str, BackendStatus]
) -> list[BackendChoice]:
    """Return the candidates for a file, the default first; only one backend reads a native file.

    Raises:
        BackendError: If no installed backend computes it in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file.
    """
    own = file_precision(read_metadata(path))
    native = FILE_SUFFIXES.get(path.suffix.lower())
    if native is None:
        onnx_backends = {
            name: backend
            for name, backend in available.items()
            if SPECS[name].reads_onnx and (own != "int8" or backend.runs_int8)
        }
        return choices_for_precision(own, precision, onnx_backends)
    if available[native].install:
        raise BackendError(
            f"{path} runs in {native} only, which is not installed: {available[native].install}"
        )
    return choices_for_precision(own, precision, {native: available[native]})


def choose_backend(
    path: Path,
    *,
    threads: int | None = None,
    precision: str | None = None,
    cache: Path | None = None,
    available: Mapping[str, BackendStatus] | None = None,
    open_model: OpenModel | None = None,
    seconds: float = TRIAL_S,
    refresh: bool = False,
) -> TrialResult:
    """Return the fastest backend and precision for a model file, from the cache or by a trial.

    A cached result is valid for the same weights, processor, versions, threads and requested
    precision. A cache that is broken or cannot be written is ignored.

    Args:
        path: The file.
        threads: CPU threads; None for each backend's choice.
        precision: See ``choices_for_precision``.
        cache: File of cached results; ``backends.json`` in the user's cache folder by default.
        available: The backends; those of this machine by default.
        open_model: Opens a session; ``Session`` by default.
        seconds: Approximate duration of a trial, without the opening of the models.
        refresh: Run a trial and replace the cached result.

    Raises:
        BackendError: If no installed backend computes in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file, or threads is under 1.
        RuntimeError: If none of the candidates could run.
    """
    check_threads(threads)
    available = backends() if available is None else available
    cache = cache_folder() / "backends.json" if cache is None else cache
    candidates = choices_for_file(path, precision, available)
    if len(candidates) == 1:
        return TrialResult(choice=candidates[0], median_ms={}, failed={}, is_cached=False)
    key = _cache_key(path, threads, precision, installed_versions(available))
    entry = None if refresh else _read_cache(cache).get(key)
    if (cached := _parse_entry(entry, candidates)) is not None:
        return cached
    result = run_trial(
        path, candidates, threads=threads, open_model=open_model or open_choice, seconds=seconds
    )
    _write_cache(cache, key, result)
    return result


def run_trial(
    path: Path,
    candidates: Sequence[BackendChoice],
    *,
    threads: int | None,
    open_model: OpenModel,
    seconds: float,
) -> TrialResult:
    """Time all candidates, interleaved, on the same random images, and return the fastest.

    The first one stays the choice unless another is faster by ``MIN_SPEEDUP``.

    Raises:
        RuntimeError: If none could be opened and run.
    """
    sessions: dict[str, Session] = {}
    failed: dict[str, str] = {}
    rng = np.random.default_rng(0)
    for candidate in candidates:
        try:
            session = open_model(path, threads, candidate)
            session.run(_random_batch(session, rng), session.outputs)
            sessions[str(candidate)] = session
        except (ValueError, RuntimeError) as error:
            failed[str(candidate)] = str(error)
    if not sessions:
        raise RuntimeError(f"nothing here can run {path}: {'; '.join(failed.values())}")
    batch = _random_batch(next(iter(sessions.values())), rng)
    timed = time_interleaved(
        {name: _call(session, batch) for name, session in sessions.items()},
        rounds=TRIAL_ROUNDS,
        seconds=seconds,
    )
    median_ms = {name: round(times.median_ms, 3) for name, times in timed.items()}
    by_name = {str(candidate): candidate for candidate in candidates}
    first = next(iter(median_ms))
    best = min(median_ms, key=lambda name: median_ms[name])
    if median_ms[best] > MIN_SPEEDUP * median_ms[first]:
        best = first
    return TrialResult(choice=by_name[best], median_ms=median_ms, failed=failed, is_cached=False)


def open_choice(path: Path, threads: int | None, choice: BackendChoice) -> Session:
    """Open a model file with the chosen backend and precision."""
    return Session(path, threads=threads, backend=choice.backend, precision=choice.precision)


def _random_batch(session: Session, rng: np.random.Generator) -> np.ndarray:
    count = CROPS_PER_CALL if session.info.task == "pose" else 1
    return rng.integers(0, 256, (count, *session.info.size, 3), dtype=np.uint8)


def _call(session: Session, batch: np.ndarray) -> Callable[[], object]:
    outputs = [name for name in session.outputs if name != "heatmaps"] or list(session.outputs)
    return lambda: session.run(batch, outputs)


def _cache_key(
    path: Path, threads: int | None, precision: str | None, versions: Mapping[str, str]
) -> str:
    machine = read_machine()
    facts = {
        "model": hashlib.sha256(path.read_bytes()).hexdigest(),
        "cpu": machine.cpu,
        "features": [name for name, is_present in machine.features.items() if is_present],
        "threads": threads or machine.threads,
        "precision": precision,
        "versions": dict(versions),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _read_cache(cache: Path) -> dict[str, Any]:
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _parse_entry(entry: Any, candidates: Sequence[BackendChoice]) -> TrialResult | None:
    """Return a cached result, if the entry is valid and its choice is among the candidates."""
    try:
        choice = BackendChoice(backend=entry["backend"], precision=entry["precision"])
        median_ms = {str(name): float(ms) for name, ms in entry["median_ms"].items()}
        failed = {str(name): str(reason) for name, reason in entry["failed"].items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    if choice not in candidates:
        return None
    return TrialResult(choice=choice, median_ms=median_ms, failed=failed, is_cached=True)


def _write_cache(cache: Path, key: str, result: TrialResult) -> None:
    """Rewrite the cache with the newest result last; errors are ignored."""
    entries = {name: entry for name, entry in _read_cache(cache).items() if name != key}
    kept = dict(list(entries.items())[-(_MAX_CACHED - 1) :])
    timed = {"median_ms": dict(result.median_ms), "failed": dict(result.failed)}
    kept[key] = asdict(result.choice) | timed
    try:
        write_json(cache, kept)
    except (OSError, ValueError) as error:
        _log.info("the result of the trial is not remembered: %s", printable(str(error)))
