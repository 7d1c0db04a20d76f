"""Opening a model file by a backend's name, and which backends there are."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from slimpose.runtime.backends.base import (
    INSTALL,
    NATIVE_FILE_BACKENDS,
    BackendError,
    Graph,
    backend_of,
)
from slimpose.runtime.backends.litert import LiteRtGraph, attached_metadata
from slimpose.runtime.backends.ncnn import NcnnGraph, ncnn_metadata
from slimpose.runtime.backends.onnxruntime import OnnxRuntimeGraph
from slimpose.runtime.backends.onnxruntime_gpu import OFFERED, PROVIDERS, OnnxRuntimeGpuGraph
from slimpose.runtime.backends.openvino import (
    OpenVinoGraph,
    ir_metadata,
    new_core,
    supported_precisions,
    read_model,
)
from slimpose.runtime.backends.tensorrt import TensorRtEngine, engine_metadata
from slimpose.runtime.machine import overflows_int8, read_machine
from slimpose.runtime.onnx_file import file_metadata, open_onnx_file

_PACKAGES = {"litert": "ai-edge-litert", "ncnn": "ncnn", "tensorrt-engine": "tensorrt"}
_COMPUTING = {"litert": "CPU", "ncnn": "CPU", "tensorrt-engine": "GPU"}
_GRAPHS: Mapping[str, Callable[..., Graph]] = {
    "onnxruntime": OnnxRuntimeGraph,
    "openvino": OpenVinoGraph,
    "litert": LiteRtGraph,
    "ncnn": NcnnGraph,
    "tensorrt-engine": TensorRtEngine,
}


def open_graph(path: Path, *, threads: int, backend: str, precision: str) -> Graph:
    """Return the file, opened.

    Args:
        path: A file that the backend reads (``contract.backend_of``).
        threads: CPU threads; 0 leaves the backend's choice.
        backend: One of ``BACKENDS``.
        precision: One of ``PRECISIONS``, or "" for the file's own.

    Raises:
        BackendError: If the backend is absent, or does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or threads is under 0.
    """
    if backend in PROVIDERS:
        return OnnxRuntimeGpuGraph(path, backend=backend, threads=threads, precision=precision)
    return _GRAPHS[backend](path, threads=threads, precision=precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """A backend as this machine has it.

    Attributes:
        name: One of ``BACKENDS``.
        version: Of its package; "" if it is absent.
        precisions: What it computes a file of float layers in.
        runs_int8: Whether it computes INT8 ONNX files too, on this processor.
        providers: What computes, in its own words.
        install: How to get it; "" if it is there.
    """

    name: str
    version: str
    precisions: tuple[str, ...]
    providers: tuple[str, ...]
    install: str
    runs_int8: bool = True


def backends() -> dict[str, BackendStatus]:
    """Return every backend by name, absent ones too."""
    available = onnxruntime.get_available_providers()
    found = {
        "onnxruntime": BackendStatus(
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
        found[name] = BackendStatus(
            name=name,
            version=onnxruntime.__version__ if is_there else "",
            precisions=OFFERED[name] if is_there else (),
            providers=(provider,) if is_there else (),
            install="" if is_there else INSTALL[name],
        )
    for name in NATIVE_FILE_BACKENDS:
        version = _version(_PACKAGES[name])
        found[name] = BackendStatus(
            name=name,
            version=version,
            precisions=("fp32",) if version else (),
            providers=(_COMPUTING[name],) if version else (),
            install="" if version else INSTALL[name],
        )
    return found


def ncnn_metadata(path: Path) -> Mapping[str, str]:
    """Return what a model file says of itself; nothing for other people's files.

    Raises:
        BackendError: If it is an .xml file, and OpenVINO is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file.
    """
    own = backend_of(path, "onnxruntime")
    if own == "litert":
        return attached_metadata(path)
    if own == "ncnn":
        return ncnn_metadata(path)
    if own == "tensorrt-engine":
        return engine_metadata(path)
    if own == "openvino":
        return ir_metadata(read_model(new_core(), path))
    return file_metadata(open_onnx_file(path, optimize=False))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _openvino() -> BackendStatus:
    try:
        core = new_core()
    except BackendError:
        return BackendStatus(
            name="openvino", version="", precisions=(), providers=(), install=INSTALL["openvino"]
        )
    return BackendStatus(
        name="openvino",
        version=importlib.metadata.version("openvino"),
        precisions=supported_precisions(core),
        providers=tuple(core.available_devices),
        install="",
        runs_int8=not overflows_int8(read_machine()),
    )


def installed_versions(found: Mapping[str, BackendStatus]) -> dict[str, str]:
    """Return the versions of those that are there."""
    return {name: backend.version for name, backend in found.items() if backend.version}
