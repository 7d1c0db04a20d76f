"""TensorRT engines: FILE.engine with FILE.engine.json (metadata). Not run here: there is no NVIDIA device.

An engine is plain TensorRT (``trtexec --loadEngine`` reads it too), for one kind of GPU and one
version of TensorRT. Needs TensorRT's Python package, 10 or newer, and ``cuda-python`` for the
device's memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends.base import (
    INSTALL,
    BackendError,
    check_file_precision,
    file_precision,
    sidecar_metadata,
)

MIN_VERSION = 10
"""TensorRT before this chose precisions by itself; what slimpose promises about them needs the file's own."""
_TYPES = {np.dtype(np.uint8): "tensor(uint8)"}


class TensorRtEngine:
    """An engine on this machine's GPU: a ``Graph``.

    Buffers on the device are as large as the engine's largest batch, and kept; larger batches go
    through in parts.

    Raises:
        BackendError: If TensorRT or cuda-python is not installed or finds no device, if the engine
            was built for another GPU or version, or another precision than its own is asked for.
        FileNotFoundError: If one of the two files is missing.
        ValueError: If they are no such files.
    """

    def __init__(self, path: Path, *, threads: int, precision: str = "") -> None:  # noqa: ARG002 - the GPU computes
        self.metadata: Mapping[str, str] = engine_metadata(path)
        own = file_precision(self.metadata)
        self.precision = check_file_precision("TensorRT", file_precision=own, requested=precision)
        self._trt = import_tensorrt()
        self._cuda = _cuda_package()
        logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(logger)
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BackendError(
                f"{path} is no engine for this GPU and TensorRT {self._trt.__version__} (it was built for "
                f"{self.metadata.get('built_with', 'another')}; TensorRT says more above); expected one that "
                "slimpose export built on this machine"
            )
        self._engine, self._context = engine, engine.create_execution_context()
        self._stream = self._checked(self._cuda.cudaStreamCreate())
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        takes = [
            name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        ]
        self._dtypes = {
            name: np.dtype(self._trt.nptype(engine.get_tensor_dtype(name))) for name in names
        }
        self.inputs: Sequence[tuple[str, str]] = [
            (name, _TYPES.get(self._dtypes[name], "")) for name in takes
        ]
        self.outputs: Sequence[str] = tuple(name for name in names if name not in takes)
        self._input = takes[0]
        largest = tuple(engine.get_tensor_profile_shape(self._input, 0)[2])
        self._most = int(largest[0])
        self._context.set_input_shape(self._input, largest)
        self._buffers: dict[str, Any] = {}
        for name in names:
            size = (
                int(np.prod(tuple(self._context.get_tensor_shape(name))))
                * self._dtypes[name].itemsize
            )
            self._buffers[name] = self._checked(self._cuda.cudaMalloc(size))
            self._context.set_tensor_address(name, int(self._buffers[name]))

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        batch = np.ascontiguousarray(batch)
        if len(batch) == 0:
            shapes = [tuple(self._context.get_tensor_shape(name))[1:] for name in outputs]
            return [
                np.zeros((0, *shape), self._dtypes[name])
                for name, shape in zip(outputs, shapes, strict=True)
            ]
        parts = [
            self._part(batch[start : start + self._most], outputs)
            for start in range(0, len(batch), self._most)
        ]
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _part(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        cuda, kinds = self._cuda, self._cuda.cudaMemcpyKind
        self._context.set_input_shape(self._input, batch.shape)
        self._checked(
            cuda.cudaMemcpyAsync(
                self._buffers[self._input],
                batch.ctypes.data,
                batch.nbytes,
                kinds.cudaMemcpyHostToDevice,
                self._stream,
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT did not run the engine (it says why above)")
        answers = [
            np.empty(tuple(self._context.get_tensor_shape(name)), self._dtypes[name])
            for name in outputs
        ]
        for name, answer in zip(outputs, answers, strict=True):
            self._checked(
                cuda.cudaMemcpyAsync(
                    answer.ctypes.data,
                    self._buffers[name],
                    answer.nbytes,
                    kinds.cudaMemcpyDeviceToHost,
                    self._stream,
                )
            )
        self._checked(cuda.cudaStreamSynchronize(self._stream))
        return answers

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        """What a CUDA call returns behind its error code."""
        error, *values = answer
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise BackendError(
                f"CUDA says {error}; expected an NVIDIA device with a driver and free memory"
            )
        return values[0] if values else None

    def __del__(self) -> None:
        for buffer in getattr(self, "_buffers", {}).values():
            self._cuda.cudaFree(buffer)


def metadata_path(path: Path) -> Path:
    """Return the metadata's file of an engine."""
    return path.with_name(f"{path.name}.json")


def engine_metadata(path: Path) -> dict[str, str]:
    """Return what the file beside an engine says of it.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If it is no such file.
    """
    return sidecar_metadata(metadata_path(path), path, what="an engine of slimpose export")


def import_tensorrt() -> Any:
    """Return TensorRT's Python package.

    Raises:
        BackendError: If it is not installed, or too old.
    """
    try:
        import tensorrt  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BackendError(
            f"TensorRT's Python package is not installed: {INSTALL['tensorrt-engine']}"
        ) from error
    if int(tensorrt.__version__.partition(".")[0]) < MIN_VERSION:
        raise BackendError(
            f"TensorRT is {tensorrt.__version__}; expected {MIN_VERSION} or newer, which keeps each layer in the precision "
            "that the file says (JetPack 6.1 or newer); older ones: --backend tensorrt, through onnxruntime-gpu"
        )
    return tensorrt


def _cuda_package() -> Any:
    try:
        from cuda.bindings import runtime  # pyright: ignore
    except ImportError as error:
        raise BackendError(f"cuda-python is not installed: {INSTALL['tensorrt-engine']}") from error
    return runtime
