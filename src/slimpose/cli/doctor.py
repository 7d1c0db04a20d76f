"""``slimpose doctor``."""

from __future__ import annotations

import importlib.metadata
import json as json_format
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.table import Table

import slimpose
from slimpose.cli.counted import counted
from slimpose.runtime import models
from slimpose.runtime.auto_backend import (
    DEFAULT,
    MIN_SPEEDUP,
    TrialResult,
    check_names,
    choose_backend,
)
from slimpose.runtime.backends.available import BackendStatus, backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.installation import install_extra
from slimpose.runtime.machine import Machine, check_threads, overflows_int8, read_machine

PACKAGES = {
    "numpy": "",
    "opencv-python-headless": "",
    "pycocotools": "eval",
    "torch": "train",
    "onnx": "train",
    "supervision": "supervision",
}
"""Packages that slimpose uses besides its backends, and the extra that installs each."""


def doctor(
    model: str = models.DEFAULT_POSE,
    threads: int | None = None,
    precision: str = "any",
    try_backends: bool = True,
    refresh: bool = False,
    json: bool = False,
) -> int:
    """Report what this machine has for pose estimation, and which backend runs a model fastest.

    Args:
        model: The model to time in the backends: a shipped name, or a file of slimpose export.
        threads: CPU threads of the trial; each backend's choice by default.
        precision: What may be chosen: any, bf16, fp16; or int8 and fp32, a file's own.
        try_backends: Whether to time them (a second or two, cached); without, none is chosen.
        refresh: Repeat the trial instead of using a cached result, for example if the machine was
            busy then.
        json: Print one JSON object instead.
    """
    check_names("auto", precision)
    check_threads(threads)
    path = models.resolve(model)
    machine, available = read_machine(), backends()
    packages = {name: _version(name) for name in PACKAGES}
    results: dict[str, TrialResult] = {}
    error = ""
    if try_backends:
        choose = partial(
            choose_backend, path, threads=threads, available=available, refresh=refresh
        )
        results["own"] = choose()
        try:
            results["requested"] = choose(precision=precision)
        except BackendError as failure:
            error = str(failure)
    if json:
        document = {
            "slimpose": slimpose.__version__,
            "python": platform.python_version(),
            "machine": asdict(machine),
            "backends": [asdict(backend) for backend in available.values()],
            "packages": packages,
            "model": model,
            "choices": {name: asdict(result) for name, result in results.items()},
            "error": error,
        }
        print(json_format.dumps(document))
        return 0
    console = wide_console()
    console.print(
        f"slimpose {slimpose.__version__}, Python {platform.python_version()}, "
        f"{platform.platform()}"
    )
    for line in describe_machine(machine):
        console.print(line)
    console.print(_backend_table(available))
    for name, version in packages.items():
        extra = PACKAGES[name]
        how = f"not installed: {install_extra(extra)}" if extra else "not installed"
        console.print(f"  {name} {version or how}")
    for line in _describe_results(results, model, precision):
        console.print(line)
    if error:
        console.print(f"\n--precision {precision}: {error}")
    return 0


def wide_console(*, stderr: bool = False) -> Console:
    """Return a console for plain text and tables that need 130 columns."""
    console = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, 130)
    return console


def _version(package: str) -> str:
    for name in (package, package.removesuffix("-headless")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _describe_results(
    results: Mapping[str, TrialResult], model: str, precision: str
) -> Iterator[str]:
    headings = {
        "own": f"{model} in its own precision (--backend auto; without it: {DEFAULT.backend})",
        "requested": f"with --backend auto --precision {precision}",
    }
    for name, result in results.items():
        yield f"\n{headings[name]}: {result.choice}"
        yield f"  why: {explain_choice(result)}"
        for failed, reason in result.failed.items():
            yield f"  {failed} could not run: {reason}"


def describe_machine(machine: Machine) -> list[str]:
    """Return lines about a machine: processor, threads, memory, and what is unknown."""
    present = [name for name, is_present in machine.features.items() if is_present]
    missing = [name for name, is_present in machine.features.items() if not is_present]
    limits = [counted(machine.cores, "processor")]
    if machine.affinity is not None and machine.affinity != machine.cores:
        limits.append(f"bound to {machine.affinity}")
    if machine.quota_cores is not None:
        limits.append(f"a quota of {machine.quota_cores:g}")
    lines = [f"processor: {machine.cpu} ({machine.architecture})"]
    if machine.features:
        lines.append(
            f"  relevant features: {', '.join(present) or 'none'}; "
            f"missing: {', '.join(missing) or 'none'}"
        )
    if overflows_int8(machine):
        lines.append(
            "  INT8 files save memory here, not time: without VNNI they are slower than FP32"
        )
    lines.append(f"threads: {machine.threads} ({', '.join(limits)})")
    if machine.memory_bytes is not None:
        free_bytes = machine.available_bytes
        free = f", {free_bytes / 2**30:.1f} free" if free_bytes is not None else ""
        lines.append(f"memory: {machine.memory_bytes / 2**30:.1f} GiB{free}")
    if machine.unknown:
        lines.append(f"could not determine: {'; '.join(machine.unknown)}")
    return lines


def explain_choice(result: TrialResult) -> str:
    """Return in one line why a backend was chosen."""
    if not result.median_ms:
        return "it is the only one that is installed for this"
    (first, first_ms), *rest = result.median_ms.items()
    chosen = str(result.choice)
    if not rest:
        reason = "it is the only one that runs"
    elif chosen == first:
        reason = f"no other takes under {100 * MIN_SPEEDUP:.0f} % of its time"
    else:
        reason = f"the fastest, {first_ms / result.median_ms[chosen]:.2f} times as fast as {first}"
    times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in result.median_ms.items())
    return f"{reason} ({times}; {'cached' if result.is_cached else 'measured now'})"


def _backend_table(backends: Mapping[str, BackendStatus]) -> Table:
    table = Table(
        "backend",
        "version",
        "precisions of float files",
        "providers or devices; how to install",
        box=None,
    )
    for backend in backends.values():
        table.add_row(
            backend.name,
            backend.version or "-",
            ", ".join(backend.precisions) or "-",
            f"not installed: {backend.install}"
            if backend.install
            else ", ".join(backend.providers),
        )
    return table
