"""ONNX Runtime on the CPU, the default backend, always installed.

No I/O binding: input arrays are read in place and outputs returned in place (an array of 100 MB
passes through an identity in 6 ms; a copy takes 244), so it would save nothing. No shared thread
pool: ONNX Runtime can share one between models (``set_global_thread_pool_sizes``), but from Python
that pool cannot be kept from spinning, and its size is fixed for the process. One pool per model
costs nothing, because detector and pose model alternate and an idle pool sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from slimpose.runtime.backends.base import (
    BackendSpec,
    Installation,
    file_precision,
    resolve_precision,
)
from slimpose.runtime.onnx_file import file_metadata, io_names, open_onnx_file


class OnnxRuntimeGraph:
    """An ONNX file in ONNX Runtime: a ``Graph``.

    Raises:
        BackendError: If it does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file.
    """

    def __init__(self, path: Path, *, threads: int | None, precision: str | None) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self.metadata: Mapping[str, str] = file_metadata(self._session)
        self.inputs, self.outputs = io_names(self._session)
        self.precision = resolve_precision(
            "onnxruntime",
            file_precision=file_precision(self.metadata),
            requested=precision,
            supported=(),
        )
        self._input = self.inputs[0][0]

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        return run_session(self._session, self._input, batch, outputs)


def run_session(
    session: onnxruntime.InferenceSession, name: str, batch: np.ndarray, outputs: Sequence[str]
) -> list[np.ndarray]:
    """Return the named outputs of a session whose only input, ``name``, is the batch."""
    return [np.asarray(result) for result in session.run(list(outputs), {name: batch})]


def _detect() -> Installation:
    providers = tuple(onnxruntime.get_available_providers())
    return Installation(onnxruntime.__version__, ("fp32",), providers)


ONNXRUNTIME = BackendSpec(
    name="onnxruntime",
    install="pip install onnxruntime",
    open_graph=OnnxRuntimeGraph,
    detect=_detect,
)
