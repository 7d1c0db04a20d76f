"""TensorRT engines: FILE.engine with FILE.engine.json (metadata).

Not tested on a device: there was none. An engine is plain TensorRT (``trtexec --loadEngine`` reads
it too), for one kind of GPU and one version of TensorRT. It needs TensorRT's Python package, 10 or
newer, and ``cuda-python`` for the device's memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends.base import (
    BackendError,
    BackendSpec,
    NativeFiles,
    Shapes,
    check_file_precision,
    detect_package,
    import_package,
    sidecar_metadata,
)

MIN_VERSION = 10
"""Older ones choose the precision of a layer themselves; slimpose relies on the file's."""
_TYPES = {np.dtype(np.uint8): "tensor(uint8)"}


class TensorRtEngine:
    """An engine on this machine's GPU: a ``Graph``.

    Buffers on the device are as large as the engine's largest batch, and kept; larger batches are
    split.

    Raises:
        BackendError: If TensorRT or cuda-python is not installed or finds no device, if the engine
            was built for another GPU or version, or if a precision other than its own is requested.
        FileNotFoundError: If one of the two files is missing.
        ValueError: If they are not such files.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,  # noqa: ARG002 - the GPU computes
        precision: str | None,
    ) -> None:
        self.metadata: Mapping[str, str] = engine_metadata(path)
        self.precision = check_file_precision("TensorRT", self.metadata, precision)
        self._trt = import_tensorrt()
        self._cuda = import_package(
            "cuda.bindings.runtime",
            missing=f"cuda-python is not installed: {TENSORRT_ENGINE.install}",
        )
        logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(logger)
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BackendError(
                f"{path} is not an engine for this GPU and TensorRT {self._trt.__version__} (it "
                f"was built for {self.metadata.get('built_with', 'another')}; TensorRT's log above "
                "has more); expected one that slimpose export built on this machine"
            )
        self._engine, self._context = engine, engine.create_execution_context()
        self._stream = self._check(self._cuda.cudaStreamCreate())
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        is_input = self._trt.TensorIOMode.INPUT
        inputs = [name for name in names if engine.get_tensor_mode(name) == is_input]
        self._dtypes = {
            name: np.dtype(self._trt.nptype(engine.get_tensor_dtype(name))) for name in names
        }
        self.inputs: Sequence[tuple[str, str]] = [
            (name, _TYPES.get(self._dtypes[name], "")) for name in inputs
        ]
        self.outputs: Sequence[str] = tuple(name for name in names if name not in inputs)
        self.shapes: Shapes = {}
        self._input = inputs[0]
        self._allocate(names)

    def _allocate(self, names: Sequence[str]) -> None:
        """Allocate a device buffer for each tensor, at the engine's largest batch."""
        engine = self._engine
        largest = tuple(engine.get_tensor_profile_shape(self._input, 0)[2])
        self._max_batch = int(largest[0])
        self._context.set_input_shape(self._input, largest)
        self._buffers: dict[str, Any] = {}
        for name in names:
            shape = tuple(self._context.get_tensor_shape(name))
            size = int(np.prod(shape)) * self._dtypes[name].itemsize
            self._buffers[name] = self._check(self._cuda.cudaMalloc(size))
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
            self._run_part(batch[start : start + self._max_batch], outputs)
            for start in range(0, len(batch), self._max_batch)
        ]
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _run_part(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        cuda, kinds = self._cuda, self._cuda.cudaMemcpyKind
        self._context.set_input_shape(self._input, batch.shape)
        self._check(
            cuda.cudaMemcpyAsync(
                self._buffers[self._input],
                batch.ctypes.data,
                batch.nbytes,
                kinds.cudaMemcpyHostToDevice,
                self._stream,
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT did not run the engine (its log above says why)")
        arrays = [
            np.empty(tuple(self._context.get_tensor_shape(name)), self._dtypes[name])
            for name in outputs
        ]
        for name, array in zip(outputs, arrays, strict=True):
            self._check(
                cuda.cudaMemcpyAsync(
                    array.ctypes.data,
                    self._buffers[name],
                    array.nbytes,
                    kinds.cudaMemcpyDeviceToHost,
                    self._stream,
                )
            )
        self._check(cuda.cudaStreamSynchronize(self._stream))
        return arrays

    def _check(self, returned: tuple[Any, ...]) -> Any:
        """Return the value that a CUDA call returned after its error code.

        Raises:
            BackendError: If the error code is not that of success.
        """
        error, *values = returned
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise BackendError(
                f"CUDA returned {error}; expected an NVIDIA device with a driver and free memory"
            )
        return values[0] if values else None

    def __del__(self) -> None:
        for buffer in getattr(self, "_buffers", {}).values():
            self._cuda.cudaFree(buffer)


def metadata_path(path: Path) -> Path:
    """Return the path of an engine's metadata."""
    return path.with_name(f"{path.name}.json")


def engine_metadata(path: Path) -> dict[str, str]:
    """Return an engine's metadata.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If the metadata is broken.
    """
    return sidecar_metadata(metadata_path(path), path, what="an engine of slimpose export")


def import_tensorrt() -> Any:
    """Return TensorRT's Python package.

    Raises:
        BackendError: If it is not installed, or too old.
    """
    missing = f"TensorRT's Python package is not installed: {TENSORRT_ENGINE.install}"
    tensorrt = import_package("tensorrt", missing=missing)
    if int(tensorrt.__version__.partition(".")[0]) < MIN_VERSION:
        raise BackendError(
            f"TensorRT is {tensorrt.__version__}; expected {MIN_VERSION} or newer, which keeps "
            "each layer in the precision that the file says (JetPack 6.1 or newer); older ones: "
            "--backend tensorrt, through onnxruntime-gpu"
        )
    return tensorrt


TENSORRT_ENGINE = BackendSpec(
    name="tensorrt-engine",
    install="pip install tensorrt cuda-python (on a Jetson TensorRT comes with JetPack)",
    open_graph=TensorRtEngine,
    detect=partial(detect_package, "tensorrt", "GPU"),
    extras={"tensorrt": "tensorrt", "cuda": "tensorrt"},
    reads_onnx=False,
    native_files=NativeFiles(
        ending=".engine",
        read_metadata=engine_metadata,
        precisions=("fp32", "fp16"),
        exporter="tensorrt",
        int8_options=" --scheme symmetric",
    ),
)
