"""Opening a model file by a backend's name, and which backends there are."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from slimpose.runtime.backends.contract import BACKENDS, INSTALL, BackendError, Graph
from slimpose.runtime.backends.nvidia import OFFERED, PROVIDERS, NvidiaGraph
from slimpose.runtime.backends.onnx_runtime import OnnxRuntimeGraph
from slimpose.runtime.backends.open_vino import OpenVinoGraph, new_core, offered


def open_graph(path: Path, *, threads: int, backend: str, precision: str) -> Graph:
    """Return the file, opened.

    Args:
        path: An ONNX file.
        threads: CPU threads; 0 leaves the backend's choice.
        backend: One of ``BACKENDS``.
        precision: One of ``PRECISIONS``, or "" for the file's own.

    Raises:
        BackendError: If the backend is unknown or absent, or does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file, or threads is under 0.
    """
    if backend == "onnxruntime":
        return OnnxRuntimeGraph(path, threads=threads, precision=precision)
    if backend == "openvino":
        return OpenVinoGraph(path, threads=threads, precision=precision)
    if backend in PROVIDERS:
        return NvidiaGraph(path, backend=backend, threads=threads, precision=precision)
    raise BackendError(f"no backend is named {backend!r}; expected one of {', '.join(BACKENDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend as this machine has it.

    Attributes:
        name: One of ``BACKENDS``.
        version: Of its package; "" if it is absent.
        precisions: What it computes a file of float layers in; an INT8 file runs in any backend.
        providers: What computes, in its own words.
        install: How to get it; "" if it is there.
    """

    name: str
    version: str
    precisions: tuple[str, ...]
    providers: tuple[str, ...]
    install: str


def backends() -> dict[str, Backend]:
    """Return every backend by name, absent ones too."""
    available = onnxruntime.get_available_providers()
    found = {
        "onnxruntime": Backend(
            name="onnxruntime",
            version=onnxruntime.__version__,
            precisions=("fp32",),
            providers=tuple(available),
            install="",
        ),
        "openvino": _openvino(),
    }
    for name, provider in PROVIDERS.items():
        is_there = provider in available
        found[name] = Backend(
            name=name,
            version=onnxruntime.__version__ if is_there else "",
            precisions=OFFERED[name] if is_there else (),
            providers=(provider,) if is_there else (),
            install="" if is_there else INSTALL[name],
        )
    return found


def _openvino() -> Backend:
    try:
        core = new_core()
    except BackendError:
        return Backend(name="openvino", version="", precisions=(), providers=(), install=INSTALL["openvino"])
    return Backend(
        name="openvino",
        version=importlib.metadata.version("openvino"),
        precisions=offered(core),
        providers=tuple(core.available_devices),
        install="",
    )


def versions(found: Mapping[str, Backend]) -> dict[str, str]:
    """Return the versions of those that are there."""
    return {name: backend.version for name, backend in found.items() if backend.version}
