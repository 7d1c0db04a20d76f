"""LiteRT on the CPU (XNNPACK), for .tflite files: an optional package.

A file of ``slimpose export`` has its metadata in ``slimpose.json``, in a zip archive appended to
the graph, where TensorFlow Lite expects attached files (``unzip -p FILE slimpose.json``). Its batch
size is 1, as the compilers of Android and the Edge TPU require, so the crops of a batch are
computed one by one.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends import heatmap_decoding
from slimpose.runtime.backends.base import (
    BackendSpec,
    NativeFiles,
    Shapes,
    check_file_precision,
    detect_package,
    import_package,
    metadata_from_json,
)

METADATA_NAME = "slimpose.json"


class LiteRtGraph:
    """A .tflite file of ``slimpose export``: a ``Graph``.

    Raises:
        BackendError: If LiteRT is not installed, or a precision other than the file's is requested.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file.
    """

    def __init__(self, path: Path, *, threads: int | None, precision: str | None) -> None:
        self.metadata: Mapping[str, str] = attached_metadata(path)
        if not self.metadata:
            raise ValueError(
                f"{path} is not a slimpose model: no {METADATA_NAME} is attached; expected a file "
                "of slimpose export"
            )
        height, width, stride = heatmap_decoding.input_shape(self.metadata, path)
        self.precision = check_file_precision("LiteRT", self.metadata, precision)
        self._interpreter = open_interpreter(path, threads=threads)
        (source,) = self._interpreter.get_input_details()
        (result,) = self._interpreter.get_output_details()
        self._input, self._output = source["index"], result["index"]
        # The output of an INT8 file has a scale and a zero point; of a float file, (0.0, 0).
        scale, self._zero_point = result["quantization"]
        self._scale = np.float32(scale or 1.0)
        self._map_shape = tuple(int(size) for size in result["shape"][1:])
        cells = (height // stride, width // stride)
        if tuple(source["shape"]) != (1, height, width, 3) or self._map_shape[1:] != cells:
            raise ValueError(
                f"{path} takes {source['shape']} and returns {result['shape']}; expected "
                f"(1, {height}, {width}, 3) and heatmaps of {cells[0]}x{cells[1]} cells, as its "
                "metadata says"
            )
        self.inputs: Sequence[tuple[str, str]] = heatmap_decoding.INPUTS
        self.outputs: Sequence[str] = heatmap_decoding.OUTPUTS
        self.shapes: Shapes = {}

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        heatmaps = np.empty((len(batch), *self._map_shape), np.float32)
        for row, crop in enumerate(batch):
            self._interpreter.set_tensor(self._input, crop[None])
            self._interpreter.invoke()
            heatmaps[row] = self._interpreter.get_tensor(self._output)[0]
        if self._zero_point or self._scale != 1:
            heatmaps = (heatmaps - np.float32(self._zero_point)) * self._scale
        return heatmap_decoding.decode_outputs(heatmaps, self.metadata, outputs)


def open_interpreter(path: Path, *, threads: int | None) -> Any:
    """Return LiteRT's interpreter of any .tflite file.

    Raises:
        BackendError: If LiteRT is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If LiteRT cannot load it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    missing = f"{path} is a .tflite file, which needs a package that is not installed: "
    package = import_package("ai_edge_litert.interpreter", missing=f"{missing}{LITERT.install}")
    try:
        interpreter = package.Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is not a .tflite file that can be loaded (truncated?): {error}"
        ) from error
    return interpreter


def attached_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a .tflite file that slimpose wrote; {} for others.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the attached file is broken.
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
    """Append metadata to a .tflite file that has none yet."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_NAME, json.dumps(dict(metadata)))


LITERT = BackendSpec(
    name="litert",
    install="pip install ai-edge-litert",
    open_graph=LiteRtGraph,
    detect=partial(detect_package, "ai-edge-litert", "CPU"),
    extras={"ai_edge_litert": "litert"},
    reads_onnx=False,
    native_files=NativeFiles(
        ending=".tflite",
        read_metadata=attached_metadata,
        precisions=("fp32", "fp16", "int8"),
        exporter="litert",
    ),
)
