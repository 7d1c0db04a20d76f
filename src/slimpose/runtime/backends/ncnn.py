"""NCNN on the CPU, for .ncnn.param files: an optional package.

A model is FILE.ncnn.param with FILE.ncnn.bin (weights) and FILE.ncnn.json (metadata). Vulkan is not
used: there was no device to test it on.
"""

from __future__ import annotations

import json
import os
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
    sidecar_metadata,
)

SUFFIX = ".ncnn.param"
_INPUT, _OUTPUT = "in0", "out0"
_FP16_OPTIONS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


class NcnnGraph:
    """An NCNN model of ``slimpose export``: a ``Graph``.

    Raises:
        BackendError: If NCNN is not installed, or a precision other than the file's is requested.
        FileNotFoundError: If one of the three files is missing.
        ValueError: If they are not such files.
    """

    def __init__(self, path: Path, *, threads: int | None, precision: str | None) -> None:
        weights, _ = companion_paths(path)
        self.metadata: Mapping[str, str] = ncnn_metadata(path)
        self._height, self._width, self._stride = heatmap_decoding.input_shape(self.metadata, path)
        self.precision = check_file_precision("NCNN", self.metadata, precision)
        self._ncnn = import_package("ncnn", missing=f"NCNN is not installed: {NCNN.install}")
        self._path, self._weights, self._process = path, weights, os.getpid()
        self._net = self._open_net(threads)
        inputs, outputs = list(self._net.input_names()), list(self._net.output_names())
        if (inputs, outputs) != ([_INPUT], [_OUTPUT]):
            raise ValueError(
                f"{path} takes {inputs} and returns {outputs}; expected {_INPUT} and {_OUTPUT}, as "
                "slimpose export writes them"
            )
        self.inputs: Sequence[tuple[str, str]] = heatmap_decoding.INPUTS
        self.outputs: Sequence[str] = heatmap_decoding.OUTPUTS
        self.shapes: Shapes = {}

    def _open_net(self, threads: int | None) -> Any:
        net = self._ncnn.Net()
        if threads:
            net.opt.num_threads = threads
        for option in _FP16_OPTIONS:
            setattr(net.opt, option, self.precision == "fp16")
        net.opt.use_vulkan_compute = False
        if net.load_param(str(self._path)) != 0 or net.load_model(str(self._weights)) != 0:
            raise ValueError(
                f"{self._path} and {self._weights} are not files that NCNN "
                f"{self._ncnn.__version__} can load (truncated?)"
            )
        return net

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        if os.getpid() != self._process:  # a fork would wait for OpenMP's threads, which it lacks
            self._net, self._process = self._open_net(1), os.getpid()
        if len(batch):
            maps = np.stack([self._heatmaps(np.ascontiguousarray(crop)) for crop in batch])
        else:
            joints = len(json.loads(self.metadata["skeleton"])["joints"])
            cells = (self._height // self._stride, self._width // self._stride)
            maps = np.zeros((0, joints, *cells), np.float32)
        return heatmap_decoding.decode_outputs(maps, self.metadata, outputs)

    def _heatmaps(self, crop: np.ndarray) -> np.ndarray:
        pixels = self._ncnn.Mat.from_pixels(
            crop, self._ncnn.Mat.PixelType.PIXEL_RGB, self._width, self._height
        )
        extractor = self._net.create_extractor()
        extractor.input(_INPUT, pixels)
        error_code, heatmaps = extractor.extract(_OUTPUT)
        if error_code:
            raise RuntimeError(f"NCNN returned error code {error_code}")
        return np.array(heatmaps)  # a copy: the next call reuses NCNN's memory


def companion_paths(path: Path) -> tuple[Path, Path]:
    """Return the paths of weights and metadata that belong to a .ncnn.param file.

    >>> weights, metadata = companion_paths(Path("net.ncnn.param"))
    >>> weights.name, metadata.name
    ('net.ncnn.bin', 'net.ncnn.json')
    """
    stem = path.name.removesuffix(".param")
    return path.with_name(f"{stem}.bin"), path.with_name(f"{stem}.json")


def ncnn_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an NCNN model.

    Raises:
        FileNotFoundError: If one of the three files is missing.
        ValueError: If the metadata is broken.
    """
    weights, metadata_file = companion_paths(path)
    return sidecar_metadata(metadata_file, path, weights, what="an NCNN model")


NCNN = BackendSpec(
    name="ncnn",
    install="pip install ncnn",
    open_graph=NcnnGraph,
    detect=partial(detect_package, "ncnn", "CPU"),
    extras={"ncnn": "ncnn"},
    reads_onnx=False,
    native_files=NativeFiles(
        ending=SUFFIX, read_metadata=ncnn_metadata, precisions=("fp32", "fp16"), exporter="ncnn"
    ),
)
