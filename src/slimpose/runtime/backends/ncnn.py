"""NCNN on the CPU: FILE.ncnn.param with FILE.ncnn.bin (weights) and FILE.ncnn.json (metadata). An optional package.

Vulkan is not used: nothing here could show that it works.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends import heatmaps_only
from slimpose.runtime.backends.base import (
    ENDINGS,
    INSTALL,
    BackendError,
    check_file_precision,
    file_precision,
    sidecar_metadata,
)

SUFFIX = ENDINGS["ncnn"]
_INPUT, _OUTPUT = "in0", "out0"
_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


class NcnnGraph:
    """A net of ``slimpose export`` in NCNN: a ``Graph``.

    Raises:
        BackendError: If NCNN is not installed, or another precision than the file's is asked for.
        FileNotFoundError: If one of the three files is missing.
        ValueError: If they are no such files.
    """

    def __init__(self, path: Path, *, threads: int, precision: str = "") -> None:
        weights, _ = companion_paths(path)
        self.metadata: Mapping[str, str] = ncnn_metadata(path)
        self._height, self._width, self._stride = heatmaps_only.input_shape(self.metadata, path)
        self.precision = check_file_precision(
            "NCNN", file_precision=file_precision(self.metadata), requested=precision
        )
        self._ncnn = _ncnn()
        self._net = self._ncnn.Net()
        if threads:
            self._net.opt.num_threads = threads
        for option in _HALF:
            setattr(self._net.opt, option, self.precision == "fp16")
        self._net.opt.use_vulkan_compute = False
        if self._net.load_param(str(path)) != 0 or self._net.load_model(str(weights)) != 0:
            raise ValueError(
                f"{path} and {weights} are no files that NCNN {self._ncnn.__version__} can load (cut off?)"
            )
        if list(self._net.input_names()) != [_INPUT] or list(self._net.output_names()) != [_OUTPUT]:
            raise ValueError(
                f"{path} takes {self._net.input_names()} and gives {self._net.output_names()}; expected {_INPUT} and "
                f"{_OUTPUT}, as slimpose export writes them"
            )
        self.inputs: Sequence[tuple[str, str]] = heatmaps_only.INPUTS
        self.outputs: Sequence[str] = heatmaps_only.OUTPUTS

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        maps = [self._heatmaps(np.ascontiguousarray(crop)) for crop in batch]
        if not maps:
            joints = len(json.loads(self.metadata["skeleton"])["joints"])
            empty = np.zeros(
                (0, joints, self._height // self._stride, self._width // self._stride), np.float32
            )
            return heatmaps_only.decode_outputs(empty, self.metadata, outputs)
        return heatmaps_only.decode_outputs(np.stack(maps), self.metadata, outputs)

    def _heatmaps(self, crop: np.ndarray) -> np.ndarray:
        pixels = self._ncnn.Mat.from_pixels(
            crop, self._ncnn.Mat.PixelType.PIXEL_RGB, self._width, self._height
        )
        extractor = self._net.create_extractor()
        extractor.input(_INPUT, pixels)
        failed, answer = extractor.extract(_OUTPUT)
        if failed:
            raise RuntimeError(f"NCNN returned {failed}")
        return np.array(answer)  # a copy: NCNN's memory is the next call's


def companion_paths(path: Path) -> tuple[Path, Path]:
    """Return the weights' and the metadata's files of a .ncnn.param file."""
    stem = path.name.removesuffix(".param")
    return path.with_name(f"{stem}.bin"), path.with_name(f"{stem}.json")


def ncnn_metadata(path: Path) -> dict[str, str]:
    """Return what the file beside a .ncnn.param file says of the model.

    Raises:
        FileNotFoundError: If one of the three files is missing.
        ValueError: If it is no such file.
    """
    weights, story = companion_paths(path)
    return sidecar_metadata(story, path, weights, what="an NCNN model")


def _ncnn() -> Any:
    try:
        import ncnn  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BackendError(f"NCNN is not installed: {INSTALL['ncnn']}") from error
    return ncnn
