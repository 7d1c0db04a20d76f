"""OpenVINO on the CPU, for ONNX files and its own (.xml with .bin): an optional package.

Graphs are compiled for a batch of one and, when a batch is that large for the first time, of
``BATCH_SIZE``; other batches are split into such parts. A graph of dynamic batch size needs no
parts, but takes half as long again for one person (12.7 instead of 8.8 ms in FP32, 8.7 instead of
5.3 in BF16: ``mnv2``, one thread). Input arrays are read in place; outputs are copied from
OpenVINO's buffers, which the next call overwrites. Threads are not bound to cores: those of a
second model would be bound to the same cores.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends.base import (
    BackendError,
    BackendSpec,
    Installation,
    NativeFiles,
    Shapes,
    file_precision,
    metadata_from_json,
    resolve_precision,
)
from slimpose.runtime.machine import overflows_int8, read_machine
from slimpose.runtime.onnx_file import file_metadata, io_names, io_shapes, open_onnx_file

_CAPABILITIES = {"BF16": "bf16", "FP16": "fp16"}
RT_INFO = "slimpose"
"""Key of the metadata in an .xml file's runtime information."""
_TYPES = {"<Type: 'uint8_t'>": "tensor(uint8)"}
BATCH_SIZE = 4
"""Inputs of a call, for batches that have as many."""
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVinoGraph:
    """A model file in OpenVINO: a ``Graph``.

    Raises:
        BackendError: If OpenVINO is not installed, or does not compute in that precision, or INT8
            without overflow, on this processor.
        FileNotFoundError: If there is no such file.
        ValueError: If OpenVINO cannot read it.
    """

    def __init__(self, path: Path, *, threads: int | None, precision: str | None) -> None:
        core = new_core()
        is_ir = path.suffix.lower() == ".xml"
        if not is_ir:  # by ONNX Runtime, because OpenVINO drops the metadata
            unoptimized = open_onnx_file(path, optimize=False)
            self.metadata: Mapping[str, str] = file_metadata(unoptimized)
            self.inputs, self.outputs = io_names(unoptimized)
            self.shapes: Shapes = io_shapes(unoptimized)
        self._model = read_model(core, path)
        if is_ir:
            self.metadata = ir_metadata(self._model)
            self.inputs = [
                (port.any_name, _TYPES.get(str(port.element_type), ""))
                for port in self._model.inputs
            ]
            self.outputs = tuple(port.any_name for port in self._model.outputs)
            self.shapes = {
                port.any_name: [
                    size.get_length() if size.is_static else None for size in port.partial_shape
                ]
                for port in (*self._model.inputs, *self._model.outputs)
            }
        own = file_precision(self.metadata)
        if own == "int8" and overflows_int8(read_machine()):
            raise BackendError(
                f"{path} is INT8, and on an x86 processor without VNNI, such as this one, OpenVINO "
                "adds its products in 16 bits: sums overflow, points are off by pixels; expected "
                "--backend onnxruntime, or the FP32 file"
            )
        self.precision = resolve_precision(
            "openvino",
            file_precision=own,
            requested=precision,
            supported=supported_precisions(core),
        )
        self._core, self._settings = core, compile_settings(self.precision, threads)
        try:
            self._requests = {1: self._compile(1)}
        except RuntimeError as error:
            raise ValueError(
                f"{path} cannot be compiled by OpenVINO: {str(error).splitlines()[0]}"
            ) from error

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        batch = np.ascontiguousarray(batch)
        if len(batch) == 0:
            return [
                np.zeros((0, *self._requests[1].get_tensor(name).shape[1:]), np.float32)
                for name in outputs
            ]
        parts: list[list[np.ndarray]] = []
        start = 0
        while start < len(batch):
            size = BATCH_SIZE if len(batch) - start >= BATCH_SIZE else 1
            if size not in self._requests:
                self._requests[size] = self._compile(size)
            request = self._requests[size]
            request.infer([batch[start : start + size]], share_inputs=True, share_outputs=True)
            parts.append([np.array(request.get_tensor(name).data) for name in outputs])
            start += size
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _compile(self, size: int) -> Any:
        """Return an inference request for batches of this size."""
        model = self._model.clone()
        shape = model.input(0).partial_shape
        shape[0] = size
        model.reshape(shape)
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


def read_model(core: Any, path: Path) -> Any:
    """Return a file of any kind that OpenVINO reads as its model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If OpenVINO cannot read it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        return core.read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"{path} cannot be read by OpenVINO (truncated? an .xml without its .bin?): {reason}"
        ) from error


def ir_metadata(model: Any) -> dict[str, str]:
    """Return the metadata of an OpenVINO model that ``slimpose export`` wrote; {} for others."""
    if not model.has_rt_info([RT_INFO]):
        return {}
    return metadata_from_json(str(model.get_rt_info([RT_INFO]).value), "its runtime information")


def new_core() -> Any:
    """Return an OpenVINO core.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise BackendError(f"OpenVINO is not installed: {OPENVINO.install}") from error
    return openvino.Core()


def supported_precisions(core: Any) -> tuple[str, ...]:
    """Return the precisions of float layers that this processor has instructions for."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", *(name for word, name in _CAPABILITIES.items() if word in capabilities))


def compile_settings(precision: str, threads: int | None = None) -> dict[str, Any]:
    """Return settings for the lowest latency of one call at a time.

    The precision is always set: by default, OpenVINO takes BF16 where the processor has it.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS.get(precision.rpartition("+")[2], "f32"),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def _read_ir_metadata(path: Path) -> dict[str, str]:
    return ir_metadata(read_model(new_core(), path))


def _detect() -> Installation | None:
    try:
        core = new_core()
    except BackendError:
        return None
    return Installation(
        importlib.metadata.version("openvino"),
        supported_precisions(core),
        tuple(core.available_devices),
        runs_int8=not overflows_int8(read_machine()),
    )


OPENVINO = BackendSpec(
    name="openvino",
    install="pip install openvino",
    open_graph=OpenVinoGraph,
    detect=_detect,
    extras={"openvino": "openvino"},
    native_files=NativeFiles(
        ending=".xml",
        read_metadata=_read_ir_metadata,
        precisions=("fp32", "fp16"),
        exporter="openvino",
        int8_options="",
    ),
)
