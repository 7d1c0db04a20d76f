"""ONNX Runtime on the CPU: always there.

Input arrays are read where they are, and outputs handed over as they lie: an array of 100 MB goes
through an identity in 6 ms, where a copy takes 244. So I/O binding would save nothing here. ONNX
Runtime can share one pool of threads between models (``set_global_thread_pool_sizes``), but from
Python that pool cannot be told not to spin, and it is fixed for the process; pools of their own,
asleep while the other works, cost nothing: detector and pose net take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from slimpose.runtime.backends.base import file_precision, resolve_precision
from slimpose.runtime.onnx_file import file_metadata, io_names, open_onnx_file


class OnnxRuntimeGraph:
    """A model file in ONNX Runtime: a ``Graph``.

    Raises:
        BackendError: If it does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file.
    """

    def __init__(self, path: Path, *, threads: int, precision: str = "") -> None:
        self._session = open_onnx_file(path, threads=threads)
        self.metadata: Mapping[str, str] = file_metadata(self._session)
        self.inputs, self.outputs = io_names(self._session)
        own = file_precision(self.metadata)
        self.precision = resolve_precision("onnxruntime", file_precision=own, requested=precision, supported=())
        self._input = self.inputs[0][0]

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        return run_session(self._session, self._input, batch, outputs)


def run_session(
    session: onnxruntime.InferenceSession, source: str, batch: np.ndarray, outputs: Sequence[str]
) -> list[np.ndarray]:
    """Return the named outputs of a session for a batch as its only input."""
    return [np.asarray(result) for result in session.run(list(outputs), {source: batch})]
