"""``slimpose doctor``."""

from __future__ import annotations

import importlib.metadata
import json as json_format
import platform
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

import slimpose
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
from slimpose.runtime.machine import Machine, overflows_int8, read_machine

PACKAGES = {
    "numpy": "",
    "opencv-python-headless": "",
    "pycocotools": "eval",
    "torch": "train",
    "onnx": "train",
    "supervision": "supervision",
}
"""What slimpose uses beside its backends, and the extra that brings it."""


def doctor(
    model: str = models.DEFAULT_POSE,
    threads: int | None = None,
    precision: str = "any",
    try_backends: bool = True,
    again: bool = False,
    json: bool = False,
) -> int:
    """Tell what this machine has for pose estimation, and which backend and precision would run a model fastest.

    Args:
        model: The model to try the backends with: a shipped name, or a file of slimpose export.
        threads: CPU threads to try with; each backend's choice by default.
        precision: What may be chosen: any, bf16, fp16; or int8 and fp32, a file's own.
        try_backends: Whether to try them (a second or two, remembered); without, nothing is chosen.
        again: Try anew what was tried before: the machine was busy then, perhaps.
        json: Print one JSON object instead.
    """
    check_names("auto", precision)
    path = models.resolve(model)
    machine, found = read_machine(), backends()
    verdicts: dict[str, TrialResult] = {}
    refused = ""
    if try_backends:
        verdicts["own"] = choose_backend(path, threads=threads, available=found, refresh=again)
        try:
            verdicts["asked"] = choose_backend(
                path, threads=threads, precision=precision, available=found, refresh=again
            )
        except BackendError as error:
            refused = str(error)
    packages = {name: _version(name) for name in PACKAGES}
    if json:
        document: dict[str, Any] = {
            "slimpose": slimpose.__version__,
            "python": platform.python_version(),
            "machine": asdict(machine),
            "backends": [asdict(backend) for backend in found.values()],
            "packages": packages,
            "model": model,
            "choices": {name: asdict(verdict) for name, verdict in verdicts.items()},
            "refused": refused,
        }
        print(json_format.dumps(document))
        return 0
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"slimpose {slimpose.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    for line in machine_lines(machine):
        console.print(line)
    console.width = max(console.width, 130)
    console.print(_table(found))
    for name, version in packages.items():
        extra = PACKAGES[name]
        how = f'not installed: pip install "slimpose[{extra}]"' if extra else "not installed"
        console.print(f"  {name} {version or how}")
    for name, verdict in verdicts.items():
        console.print(f"\n{_heading(name, model, precision)}: {verdict.choice}")
        console.print(f"  why: {explain_verdict(verdict)}")
        for failed, reason in verdict.failed.items():
            console.print(f"  {failed} could not run: {reason}")
    if refused:
        console.print(f"\n--precision {precision}: {refused}")
    return 0


def machine_lines(machine: Machine) -> list[str]:
    """Return what is to be said of a machine."""
    has = [name for name, is_there in machine.features.items() if is_there]
    lacks = [name for name, is_there in machine.features.items() if not is_there]
    bounds = [f"{machine.cores} processors"]
    if machine.affinity is not None and machine.affinity != machine.cores:
        bounds.append(f"bound to {machine.affinity}")
    if machine.quota_cores is not None:
        bounds.append(f"a quota of {machine.quota_cores:g}")
    lines = [f"processor: {machine.cpu} ({machine.architecture})"]
    if machine.features:
        lines.append(
            f"  has {', '.join(has) or 'none'} of what matters here; lacks {', '.join(lacks) or 'nothing'}"
        )
    if overflows_int8(machine):
        lines.append(
            "  INT8 files save memory here, not time: without VNNI they are slower than FP32"
        )
    lines.append(f"threads: {machine.threads} ({', '.join(bounds)})")
    if machine.memory_bytes is not None:
        free = (
            f", {machine.available_bytes / 2**30:.1f} free"
            if machine.available_bytes is not None
            else ""
        )
        lines.append(f"memory: {machine.memory_bytes / 2**30:.1f} GiB{free}")
    if machine.unknown:
        lines.append(f"could not learn: {'; '.join(machine.unknown)}")
    return lines


def explain_verdict(verdict: TrialResult) -> str:
    """Return why a backend was chosen, in one line."""
    if not verdict.median_ms:
        return "it is the only one that is installed for this"
    first, *rest = verdict.median_ms.items()
    told = ", ".join(f"{name} {ms:.1f} ms" for name, ms in verdict.median_ms.items())
    chosen = str(verdict.choice)
    if not rest:
        reason = "it is the only one that runs"
    elif chosen == first[0]:
        reason = f"no other takes under {100 * MIN_SPEEDUP:.0f} % of its time"
    else:
        reason = (
            f"the fastest, {first[1] / verdict.median_ms[chosen]:.2f} times as fast as {first[0]}"
        )
    return f"{reason} ({told}{'; remembered' if verdict.is_cached else '; tried now'})"


def _heading(name: str, model: str, precision: str) -> str:
    if name == "own":
        return f"{model} in its own precision (--backend auto; without it: {DEFAULT.backend})"
    return f"with --backend auto --precision {precision}"


def _table(found: dict[str, BackendStatus]) -> Table:
    table = Table(
        "backend",
        "version",
        "precisions of float files",
        "providers or devices; how to get it",
        box=None,
    )
    for backend in found.values():
        where = (
            ", ".join(backend.providers)
            if not backend.install
            else f"not installed: {backend.install}"
        )
        table.add_row(
            backend.name, backend.version or "-", ", ".join(backend.precisions) or "-", where
        )
    return table


def _version(package: str) -> str:
    for name in (package, package.removesuffix("-headless")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
