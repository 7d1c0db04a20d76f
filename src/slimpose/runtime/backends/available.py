"""All backends, the files they read, and which of them are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimpose.forks import never_closed_in_forks
from slimpose.runtime.backends.base import BackendError, BackendSpec, Graph, NativeFiles
from slimpose.runtime.backends.litert import LITERT, attached_metadata
from slimpose.runtime.backends.ncnn import NCNN
from slimpose.runtime.backends.onnxruntime import ONNXRUNTIME
from slimpose.runtime.backends.onnxruntime_gpu import CUDA, TENSORRT
from slimpose.runtime.backends.openvino import OPENVINO
from slimpose.runtime.backends.tensorrt import TENSORRT_ENGINE
from slimpose.runtime.foreign.blazepose import BlazePoseGraph
from slimpose.runtime.foreign.graph import ForeignGraph, Recognized
from slimpose.runtime.machine import check_threads
from slimpose.runtime.onnx_file import file_metadata, open_onnx_file

# A new backend is one new module next to these, with a BackendSpec at its end, and one entry here;
# if slimpose export is to write its files, also a module in slimpose.export.runtimes.
SPECS: Mapping[str, BackendSpec] = {
    spec.name: spec
    for spec in (ONNXRUNTIME, OPENVINO, TENSORRT, CUDA, LITERT, NCNN, TENSORRT_ENGINE)
}
BACKENDS = tuple(SPECS)
NATIVE_FILES: Mapping[str, NativeFiles] = {
    spec.name: spec.native_files for spec in SPECS.values() if spec.native_files is not None
}
FILE_SUFFIXES: Mapping[str, str] = {
    f".{files.ending.rpartition('.')[2]}": name for name, files in NATIVE_FILES.items()
}
"""Suffix to the one backend that reads such a file; any other file is ONNX."""


def backend_of(path: Path, requested: str) -> str:
    """Return the backend for a file.

    Args:
        path: The file.
        requested: A backend's name; "onnxruntime", the default everywhere, means the file's own
            backend if the file is not ONNX.

    Raises:
        BackendError: If there is no such backend, or it does not read such a file.
    """
    if requested not in SPECS:
        raise BackendError(
            f"no backend is named {requested!r}; expected one of {', '.join(BACKENDS)}"
        )
    own = FILE_SUFFIXES.get(path.suffix.lower())
    if own is None and not SPECS[requested].reads_onnx:
        ending = NATIVE_FILES[requested].ending
        raise BackendError(
            f"{requested} does not read {path}; expected a {ending} file: "
            f"slimpose export WEIGHTS --out FILE{ending}"
        )
    if own is not None and requested not in (own, "onnxruntime"):
        raise BackendError(
            f"{path} runs in {own} only; expected --backend {own}, or an ONNX file for {requested}"
        )
    return own or requested


def open_graph(
    path: Path, *, threads: int | None = None, backend: str, precision: str | None = None
) -> Graph:
    """Return a model file, opened by a backend.

    A file that slimpose did not write is recognized by its inputs and outputs (``foreign``).

    Args:
        path: A file that the backend reads (``backend_of``).
        threads: CPU threads; None for the backend's choice.
        backend: One of ``BACKENDS``.
        precision: One of ``PRECISIONS``; None for the file's own.

    Raises:
        BackendError: If the backend is not installed, or does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file, or threads is under 1.
    """
    check_threads(threads)

    def open_file(file: Path) -> Graph:
        return SPECS[backend].open_graph(file, threads=threads, precision=precision)

    return never_closed_in_forks(_open_any(path, open_file, threads=threads))


def _open_any(path: Path, open_file: Callable[[Path], Graph], *, threads: int | None) -> Graph:
    suffix = path.suffix.lower()
    if suffix == ".tflite" and not attached_metadata(path):
        return BlazePoseGraph(path, threads=threads)
    is_onnx = suffix not in FILE_SUFFIXES
    if is_onnx and "slimpose" not in file_metadata(open_onnx_file(path, optimize=False)):
        return ForeignGraph(path, open_file)
    return open_file(path)


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return a model file's metadata; what it would be for a file that slimpose did not write.

    Raises:
        BackendError: If it is an .xml file, and OpenVINO is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file.
    """
    own = FILE_SUFFIXES.get(path.suffix.lower())
    if own is not None:
        metadata = NATIVE_FILES[own].read_metadata(path)
        return BlazePoseGraph(path).metadata if own == "litert" and not metadata else metadata
    session = open_onnx_file(path, optimize=False)
    metadata = file_metadata(session)
    return metadata if "slimpose" in metadata else Recognized(path, session).metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """A backend on this machine.

    Attributes:
        name: One of ``BACKENDS``.
        version: Version of its package; "" if it is not installed.
        precisions: What it computes the float layers of a file in.
        providers: The devices that compute, by the backend's own names.
        install: How to install it; "" if it is installed.
        runs_int8: Whether it computes INT8 ONNX files too, on this processor.
    """

    name: str
    version: str = ""
    precisions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    install: str = ""
    runs_int8: bool = True


def backends() -> dict[str, BackendStatus]:
    """Return the status of every backend by name, installed or not."""
    statuses: dict[str, BackendStatus] = {}
    for name, spec in SPECS.items():
        found = spec.detect()
        facts: dict[str, Any] = {"install": spec.install} if found is None else found._asdict()
        statuses[name] = BackendStatus(name=name, **facts)
    return statuses


def installed_versions(statuses: Mapping[str, BackendStatus]) -> dict[str, str]:
    """Return the versions of the installed backends."""
    return {name: status.version for name, status in statuses.items() if status.version}
