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
from slimpose.runtime.onnx_file import file_metadata, io_names, io_shapes, open_onnx_file


class OnnxRuntimeGraph:
    """An ONNX file in ONNX Runtime: a ``Graph``.

    Attributes:
        constants: Values (1, ...) of further inputs by name, the same for all images.

    Raises:
        BackendError: If it does not compute in that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file.
    """

    def __init__(self, path: Path, *, threads: int | None, precision: str | None) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self._describe(self._session, "onnxruntime", precision, supported=())

    def _describe(
        self,
        session: onnxruntime.InferenceSession,
        backend: str,
        precision: str | None,
        *,
        supported: Sequence[str],
    ) -> None:
        """Read metadata, inputs and outputs from a session of the file; check the precision."""
        self.metadata: Mapping[str, str] = file_metadata(session)
        self.inputs, self.outputs = io_names(session)
        self.shapes = io_shapes(session)
        own = file_precision(self.metadata)
        self.precision = resolve_precision(
            backend, file_precision=own, requested=precision, supported=supported
        )
        self._input = self.inputs[0][0] if self.inputs else ""
        self.constants: dict[str, np.ndarray] = {}

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        feed = {self._input: batch}
        for name, value in self.constants.items():
            feed[name] = np.repeat(value, len(batch), axis=0)
        results = self._session.run(list(outputs), feed)
        return [np.asarray(result) for result in results]


def _detect() -> Installation:
    providers = tuple(onnxruntime.get_available_providers())
    return Installation(onnxruntime.__version__, ("fp32",), providers)


ONNXRUNTIME = BackendSpec(
    name="onnxruntime",
    install="pip install onnxruntime",
    open_graph=OnnxRuntimeGraph,
    detect=_detect,
)
