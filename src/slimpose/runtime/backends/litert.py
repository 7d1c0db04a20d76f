"""LiteRT on the CPU (XNNPACK): .tflite files. An optional package.

A file of ``slimpose export`` says what it is in ``slimpose.json``, in a zip archive behind the
graph: TensorFlow Lite's own place for attached files (``unzip -p FILE slimpose.json``). Its batch
size is 1, as Android's and the Edge TPU's compilers want it, so people go through one by one.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends import heatmaps_only
from slimpose.runtime.backends.base import (
    INSTALL,
    BackendError,
    check_file_precision,
    file_precision,
    metadata_from_json,
)

METADATA_NAME = "slimpose.json"


class LiteRtGraph:
    """A .tflite file of ``slimpose export``: a ``Graph``.

    Raises:
        BackendError: If LiteRT is not installed, or another precision than the file's is asked for.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """

    def __init__(self, path: Path, *, threads: int, precision: str = "") -> None:
        self.metadata: Mapping[str, str] = attached_metadata(path)
        if not self.metadata:
            raise ValueError(
                f"{path} is not a slimpose model: no {METADATA_NAME} is attached; expected a file of slimpose export"
            )
        height, width, stride = heatmaps_only.input_shape(self.metadata, path)
        self.precision = check_file_precision(
            "LiteRT", file_precision=file_precision(self.metadata), requested=precision
        )
        self._interpreter = open_interpreter(path, threads=threads)
        (put,), (answer,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self._put, self._answer = put["index"], answer["index"]
        # An INT8 file answers in whole steps of a scale about a zero; a float one says (0.0, 0).
        scale, self._zero = answer["quantization"]
        self._scale = np.float32(scale or 1.0)
        self._maps = tuple(int(size) for size in answer["shape"][1:])
        if tuple(put["shape"]) != (1, height, width, 3) or self._maps[1:] != (
            height // stride,
            width // stride,
        ):
            raise ValueError(
                f"{path} takes {put['shape']} and gives {answer['shape']}; expected (1, {height}, {width}, 3) and "
                f"heatmaps of {height // stride}x{width // stride} cells, as its metadata says"
            )
        self.inputs: Sequence[tuple[str, str]] = heatmaps_only.INPUTS
        self.outputs: Sequence[str] = heatmaps_only.OUTPUTS

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        heatmaps = np.empty((len(batch), *self._maps), np.float32)
        for row, crop in enumerate(batch):
            self._interpreter.set_tensor(self._put, crop[None])
            self._interpreter.invoke()
            heatmaps[row] = self._interpreter.get_tensor(self._answer)[0]
        if self._zero or self._scale != 1:
            heatmaps = (heatmaps - np.float32(self._zero)) * self._scale
        return heatmaps_only.decode_outputs(heatmaps, self.metadata, outputs)


def open_interpreter(path: Path, *, threads: int) -> Any:
    """Return LiteRT's interpreter of any .tflite file.

    Raises:
        BackendError: If LiteRT is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BackendError(
            f"{path} is a .tflite file, which needs a package that is not installed: {INSTALL['litert']}"
        ) from error
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads or None)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is not a .tflite file that can be loaded (cut off?): {error}"
        ) from error
    return interpreter


def attached_metadata(path: Path) -> dict[str, str]:
    """Return what a .tflite file of slimpose says of itself; {} for anyone else's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If what is attached is broken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    if not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            if METADATA_NAME not in archive.namelist():
                return {}
            return metadata_from_json(archive.read(METADATA_NAME), f"{path}: its {METADATA_NAME}")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: its {METADATA_NAME} is broken: {error}") from error


def attach_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Put the metadata behind the graph of a .tflite file that has none yet."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_NAME, json.dumps(dict(metadata)))
