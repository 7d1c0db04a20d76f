"""What range of values each tensor takes on real pictures, by several rules."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import TensorsData

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import PASSTHROUGH_OPS

OP_TYPES = ("Conv", "ConvTranspose", "Add", *PASSTHROUGH_OPS)
_HISTOGRAM_PICTURES = 48
_CHUNK = 4
"""Pictures whose tensors are held at once: some 50 MB each."""

_METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile-99.99": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 256, "num_quantized_bins": 128}),
}
METHODS = tuple(_METHODS)


class _Pictures(CalibrationDataReader):
    def __init__(self, name: str, pictures: Crops) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = (
            {name: pictures[row : row + 1]} for row in range(len(pictures))
        )

    def get_next(self) -> dict[str, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride] - its stub is bare
        return next(self._batches, {})


def ranges(network: onnx.ModelProto, pictures: Crops, *, method: str, folder: Path) -> TensorsData:
    """Return every tensor's range.

    ``minmax`` looks at all pictures; the rules that need histograms look at the first
    _HISTOGRAM_PICTURES, because a histogram of a tensor costs more than computing it.

    Args:
        network: The float graph from pixels to maps.
        pictures: uint8 (n, H, W, 3), as the runtime cuts them.
        method: One of METHODS.
        folder: Where temporary files may lie.
    """
    kind, options = _METHODS[method]
    source = folder / "network.onnx"
    source.write_bytes(network.SerializeToString())
    calibrator = create_calibrator(
        source,
        list(OP_TYPES),
        augmented_model_path=str(folder / f"{method}.onnx"),
        calibrate_method=kind,
        extra_options=options,
    )
    if kind != CalibrationMethod.MinMax:
        pictures = pictures[:_HISTOGRAM_PICTURES]
    name = network.graph.input[0].name
    with contextlib.redirect_stdout(io.StringIO()):  # the histogram rules print what they do
        for start in range(0, len(pictures), _CHUNK):
            calibrator.collect_data(_Pictures(name, pictures[start : start + _CHUNK]))
        return calibrator.compute_data()
