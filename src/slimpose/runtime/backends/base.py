"""What every backend does alike: which there are, for which files and precisions, and what an opened graph answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

BACKENDS = ("onnxruntime", "openvino", "tensorrt", "cuda", "litert", "ncnn", "tensorrt-engine")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
FILE_SUFFIXES = {
    ".xml": "openvino",
    ".tflite": "litert",
    ".param": "ncnn",
    ".engine": "tensorrt-engine",
}
"""Suffix to the one backend that reads such a file; any other file is ONNX."""
ENDINGS = {
    backend: ".ncnn.param" if backend == "ncnn" else suffix
    for suffix, backend in FILE_SUFFIXES.items()
}
"""What the names of such files end in."""
NATIVE_FILE_BACKENDS = ("litert", "ncnn", "tensorrt-engine")
"""Backends that read no ONNX."""

INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": 'pip install "slimpose[openvino]"',
    "tensorrt": "pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt",
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "litert": "pip install ai-edge-litert",
    "ncnn": "pip install ncnn",
    "tensorrt-engine": "pip install tensorrt cuda-python (on a Jetson TensorRT comes with JetPack)",
}
"""How to get a backend."""


@runtime_checkable
class Graph(Protocol):
    """A model file, opened by a backend.

    Attributes:
        metadata: The file's metadata.
        inputs: Name and type of each input, such as ("crops", "tensor(uint8)").
        outputs: The names that ``run`` knows.
        precision: What the backend computes it in.
    """

    metadata: Mapping[str, str]
    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[str]
    precision: str

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch; they are the caller's to keep."""
        ...


class BackendError(ValueError):
    """A backend or precision that was asked for and is not to be had; the message says how to get it."""


def backend_of(path: Path, requested: str) -> str:
    """Return the backend for a file.

    Args:
        path: The file.
        asked: A backend's name; "onnxruntime", the default everywhere, leaves a file that is not
            ONNX to its own.

    Raises:
        BackendError: If there is no such backend, or it does not read such a file.
    """
    if requested not in BACKENDS:
        raise BackendError(f"no backend is named {requested!r}; expected one of {', '.join(BACKENDS)}")
    own = FILE_SUFFIXES.get(path.suffix.lower())
    if own is None and requested in NATIVE_FILE_BACKENDS:
        ending = ENDINGS[requested]
        raise BackendError(
            f"{requested} does not read {path}; expected a {ending} file: slimpose export WEIGHTS --out FILE{ending}"
        )
    if own is not None and requested not in (own, "onnxruntime"):
        raise BackendError(
            f"{path} runs in {own} only; expected --backend {own}, or an ONNX file for {requested}"
        )
    return own or requested


def metadata_from_json(text: str | bytes, where: str) -> dict[str, str]:
    """Return a file's metadata, kept as one JSON object.

    Args:
        text: The JSON.
        where: What holds it, for the message.

    Raises:
        ValueError: If it is no JSON object.
    """
    try:
        return {str(key): str(value) for key, value in json.loads(text).items()}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{where} is not the metadata of slimpose export: {error}") from error


def sidecar_metadata(story: Path, *others: Path, what: str) -> dict[str, str]:
    """Return the metadata in a JSON file that belongs to other files.

    Args:
        story: The JSON file.
        others: What must be there too, the one that is opened first.
        what: The kind of model, for the message.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If it is no such JSON.
    """
    files = (*others, story)
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"no model file {file}; {what} is {', '.join(each.name for each in files)}"
            )
    return metadata_from_json(story.read_bytes(), str(story))


def file_precision(metadata: Mapping[str, str]) -> str:
    """Return the precision a file was written in; files that do not say are FP32."""
    return metadata.get("precision", "fp32")


def resolve_precision(backend: str, *, file_precision: str, requested: str, supported: Sequence[str]) -> str:
    """Return the precision a backend will compute a file in.

    Args:
        backend: Its name.
        own: The file's own precision.
        asked: The precision asked for; "" for the file's own.
        offered: What the backend can compute a file of float layers in, on this machine.

    Raises:
        BackendError: If it cannot be had.
    """
    if requested in ("", file_precision):
        return file_precision
    if requested not in PRECISIONS:
        raise BackendError(
            f"no precision is named {requested!r}; expected one of {', '.join(PRECISIONS)}"
        )
    if requested == "int8":
        raise BackendError(
            f"the file is {file_precision}; expected an INT8 file for int8, in any backend: slimpose quantize makes one"
        )
    if requested == "fp32":
        raise BackendError(
            f"the file is {file_precision}, and its layers stay so; expected an FP32 file for fp32"
        )
    if requested not in supported:
        said = ", ".join(dict.fromkeys((file_precision, *supported)))
        raise BackendError(
            f"{backend} does not compute in {requested} on this machine; expected {said}, or another backend "
            "(slimpose doctor lists them)"
        )
    return requested if file_precision == "fp32" else f"{file_precision}+{requested}"


def check_file_precision(backend: str, *, file_precision: str, requested: str) -> str:
    """Return the precision of a file that a backend computes as it was written.

    Raises:
        BackendError: If another one is asked for.
    """
    if requested in ("", file_precision):
        return file_precision
    raise BackendError(
        f"the file is {file_precision}, and {backend} computes it as it was written; expected --precision {file_precision} or none, or a "
        f"file that slimpose export wrote in {requested}"
    )
