"""Diagnosis of ``slimpose doctor``: this machine, its backends, and the fastest for a model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slimpose.runtime.auto_backend import TrialResult, choose_backend
from slimpose.runtime.backends.available import BackendStatus, backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.machine import Machine, read_machine

PACKAGES = {
    "numpy": "",
    "opencv-python-headless": "",
    "pycocotools": "eval",
    "torch": "train",
    "onnx": "train",
    "supervision": "supervision",
}
"""Packages that slimpose uses besides its backends, and the extra that installs each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What this machine has for pose estimation.

    Attributes:
        machine: Processor, threads and memory.
        backends: All backends by name, installed or not.
        packages: Versions of ``PACKAGES``; "" if not installed.
        own_precision: The fastest backend in the model's own precision; None without a trial.
        requested_precision: The fastest in the requested precision; None if there is none.
        error: Why there is no backend for the requested precision.
    """

    machine: Machine
    backends: Mapping[str, BackendStatus]
    packages: Mapping[str, str]
    own_precision: TrialResult | None = None
    requested_precision: TrialResult | None = None
    error: str = ""


def diagnose(
    path: Path, *, threads: int | None, precision: str, try_backends: bool, refresh: bool
) -> Diagnosis:
    """Examine this machine and, on request, time a model in all backends.

    Args:
        path: The model's file.
        threads: CPU threads; None for each backend's choice.
        precision: See ``choose_backend``.
        try_backends: Whether to run the trials.
        refresh: Run the trials again instead of using cached results.
    """
    machine, available = read_machine(), backends()
    packages = {name: _version(name) for name in PACKAGES}
    if not try_backends:
        return Diagnosis(machine=machine, backends=available, packages=packages)
    own = choose_backend(path, threads=threads, available=available, refresh=refresh)
    requested, error = None, ""
    try:
        requested = choose_backend(
            path, threads=threads, precision=precision, available=available, refresh=refresh
        )
    except BackendError as failure:
        error = str(failure)
    return Diagnosis(
        machine=machine,
        backends=available,
        packages=packages,
        own_precision=own,
        requested_precision=requested,
        error=error,
    )


def _version(package: str) -> str:
    for name in (package, package.removesuffix("-headless")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
