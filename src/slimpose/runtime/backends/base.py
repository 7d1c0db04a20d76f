"""What all backends share: how a backend describes itself, the opened graph, files, precisions."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from slimpose.messages import quoted

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
MAX_INPUT_PX = 8192
"""Limit of a model's input height and width: a file with more is broken."""
Shapes = Mapping[str, Sequence[int | None]]


class BackendError(ValueError):
    """A requested backend or precision is not available; the message says how to get it."""


@runtime_checkable
class Graph(Protocol):
    """A model file, opened by a backend.

    Attributes:
        metadata: The file's metadata.
        inputs: Name and type of each input, such as ("crops", "tensor(uint8)").
        outputs: The names that ``run`` knows.
        shapes: Sizes of inputs and outputs by name, None for a free one; {} if the backend has
            checked them.
        precision: The precision that the backend computes in.
    """

    metadata: Mapping[str, str]
    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[str]
    shapes: Shapes
    precision: str

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch, in arrays that later calls do not change."""
        ...


class Installation(NamedTuple):
    """What an installed backend offers on this machine; see ``available.BackendStatus``."""

    version: str
    precisions: tuple[str, ...]
    providers: tuple[str, ...]
    runs_int8: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeFiles:
    """A backend's own kind of model file, which ``slimpose export`` writes.

    Attributes:
        ending: What the files' names end in.
        read_metadata: Reads a file's metadata; empty for files that slimpose did not write.
        precisions: The precisions that ``slimpose export`` writes.
        exporter: Module of ``slimpose.export.runtimes`` whose ``write`` writes them and returns
            their paths.
        int8_options: Options of ``slimpose quantize`` for INT8 ONNX files that can be converted to
            such a file; None if they are made from weights only.
    """

    ending: str
    read_metadata: Callable[[Path], Mapping[str, str]]
    precisions: tuple[str, ...]
    exporter: str
    int8_options: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """A backend: an instance stands at the end of each backend's module.

    Attributes:
        name: What ``--backend`` takes.
        install: How to install it.
        open_graph: Opens a file, as ``open_graph(path, threads=..., precision=...)``; only this
            imports the backend's package.
        detect: Returns what it offers here; None if it is not installed.
        extras: The extra of slimpose by the third-party module it brings.
        reads_onnx: Whether it runs ONNX files.
        native_files: Its own kind of file, if there is one.
    """

    name: str
    install: str
    open_graph: Callable[..., Graph]
    detect: Callable[[], Installation | None]
    extras: Mapping[str, str] = field(default_factory=dict)
    reads_onnx: bool = True
    native_files: NativeFiles | None = None


def detect_package(package: str, device: str) -> Installation | None:
    """Return the FP32 backend of an installed package; None if the package is not installed."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Installation(version, ("fp32",), (device,))


def metadata_from_json(text: str | bytes, where: str) -> dict[str, str]:
    """Return a model's metadata, stored as one JSON object; ``where`` is for the error message.

    Raises:
        ValueError: If it is not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            f"{where} is {quoted(text)}; expected the metadata of slimpose export, a JSON object"
        )
    return {key: str(value) for key, value in values.items()}


def sidecar_metadata(metadata_file: Path, *model_files: Path, what: str) -> dict[str, str]:
    """Return the metadata in a JSON file next to a model's other files.

    Args:
        metadata_file: The JSON file.
        model_files: The other files, which must exist too; the one that is opened comes first.
        what: The kind of model, for the message.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the JSON file is not a model's metadata.
    """
    files = (*model_files, metadata_file)
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"no model file {file}; {what} is {', '.join(each.name for each in files)}"
            )
    return metadata_from_json(metadata_file.read_bytes(), str(metadata_file))


def file_precision(metadata: Mapping[str, str]) -> str:
    """Return the precision a file was written in; FP32 if its metadata does not say."""
    return metadata.get("precision", "fp32")


def resolve_precision(
    backend: str, *, file_precision: str, requested: str | None, supported: Sequence[str]
) -> str:
    """Return the precision in which a backend computes a file.

    Args:
        backend: Its name.
        file_precision: The precision the file was written in.
        requested: The requested precision; None for the file's own.
        supported: What the backend computes the float layers of a file in, on this machine.

    Raises:
        BackendError: If the backend does not compute this file in that precision.
    """
    if requested in (None, file_precision):
        return file_precision
    if requested not in PRECISIONS:
        raise BackendError(
            f"no precision is named {requested!r}; expected one of {', '.join(PRECISIONS)}"
        )
    if requested == "int8":
        raise BackendError(
            f"the file is {file_precision}; expected an INT8 file for int8, in any backend: "
            "slimpose quantize makes one"
        )
    if requested == "fp32":
        raise BackendError(
            f"the file is {file_precision}, and its layers stay so; expected an FP32 file for fp32"
        )
    if requested not in supported:
        possible = ", ".join(dict.fromkeys((file_precision, *supported)))
        raise BackendError(
            f"{backend} does not compute in {requested} on this machine; expected {possible}, or "
            "another backend (slimpose doctor lists them)"
        )
    return requested if file_precision == "fp32" else f"{file_precision}+{requested}"


def check_file_precision(backend: str, metadata: Mapping[str, str], requested: str | None) -> str:
    """Return the precision of a file that a backend only computes as it was written.

    Raises:
        BackendError: If another one is requested.
    """
    own = file_precision(metadata)
    if requested in (None, own):
        return own
    raise BackendError(
        f"the file is {own}, and {backend} computes it as it was written; expected "
        f"--precision {own} or none, or a file that slimpose export wrote in {requested}"
    )


def import_package(module: str, *, missing: str) -> Any:
    """Return the module of a backend's optional package.

    Raises:
        BackendError: If it is not installed; ``missing`` is the message.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(missing) from error
