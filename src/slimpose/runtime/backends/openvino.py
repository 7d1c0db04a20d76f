"""OpenVINO on the CPU, of ONNX files and of its own (.xml with .bin beside it): an optional package.

Graphs are compiled for one input and, when that many come first, for ``MANY`` at once; any batch
goes through in such parts. A graph of free batch size needs no parts, but OpenVINO takes half as
long again for one person with it (12.7 against 8.8 ms FP32, 8.7 against 5.3 BF16: ``mnv2``, one
thread). Input arrays are read where they are; answers are copied out of OpenVINO's buffers, which
the next call writes over. Threads are not bound to cores: a second model's would be bound to the
same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.runtime.backends.base import (
    INSTALL,
    BackendError,
    file_precision,
    metadata_from_json,
    resolve_precision,
)
from slimpose.runtime.machine import overflows_int8, read_machine
from slimpose.runtime.onnx_file import file_metadata, io_names, open_onnx_file

_CAPABILITIES = {"BF16": "bf16", "FP16": "fp16"}
RT_INFO = "slimpose"
"""Where an .xml file keeps its metadata."""
_TYPES = {"<Type: 'uint8_t'>": "tensor(uint8)"}
BATCH_SIZE = 4
"""Inputs a call where there are so many."""
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVinoGraph:
    """A model file in OpenVINO: a ``Graph``.

    Raises:
        BackendError: If OpenVINO is not installed, or does not compute in that precision, or INT8
            without overflow, on this processor.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """

    def __init__(self, path: Path, *, threads: int, precision: str = "") -> None:
        core = new_core()
        is_ir = path.suffix.lower() == ".xml"
        if not is_ir:
            plain = open_onnx_file(
                path, threads=threads, optimize=False
            )  # OpenVINO drops the metadata
            self.metadata: Mapping[str, str] = file_metadata(plain)
            self.inputs, self.outputs = io_names(plain)
        self._model = read_model(core, path)
        if is_ir:
            self.metadata = ir_metadata(self._model)
            self.inputs = [
                (put.any_name, _TYPES.get(str(put.element_type), "")) for put in self._model.inputs
            ]
            self.outputs = tuple(put.any_name for put in self._model.outputs)
        own = file_precision(self.metadata)
        if own == "int8" and overflows_int8(read_machine()):
            raise BackendError(
                f"{path} is INT8, and on an x86 processor without VNNI, such as this one, OpenVINO adds its products "
                "in 16 bits: sums overflow, points are off by pixels; expected --backend onnxruntime, or the FP32 file"
            )
        self.precision = resolve_precision(
            "openvino", file_precision=own, requested=precision, supported=supported_precisions(core)
        )
        self._core, self._settings = core, compile_settings(self.precision, threads)
        try:
            self._requests = {1: self._compiled(1)}
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
                self._requests[size] = self._compiled(size)
            request = self._requests[size]
            request.infer([batch[start : start + size]], share_inputs=True, share_outputs=True)
            parts.append([np.array(request.get_tensor(name).data) for name in outputs])
            start += size
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _compiled(self, size: int) -> Any:
        """What computes so many inputs a call."""
        model = self._model.clone()
        shape = model.input(0).partial_shape
        shape[0] = size
        model.reshape(shape)
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


def read_model(core: Any, path: Path) -> Any:
    """Return a model file as OpenVINO's model.

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
            f"{path} cannot be read by OpenVINO (cut off? no .bin beside an .xml?): {reason}"
        ) from error


def ir_metadata(model: Any) -> dict[str, str]:
    """Return what a model of ``slimpose export`` says of itself, from its runtime information; {} for anyone else's."""
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
        raise BackendError(f"OpenVINO is not installed: {INSTALL['openvino']}") from error
    return openvino.Core()


def supported_precisions(core: Any) -> tuple[str, ...]:
    """Return the precisions in which this processor computes float layers by instructions of its own."""
    said = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", *(name for word, name in _CAPABILITIES.items() if word in said))


def compile_settings(precision: str, threads: int) -> dict[str, Any]:
    """Return how to compile: one call at a time, as fast as may be.

    With the precision left out, OpenVINO would take BF16 where it can.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS.get(precision.rpartition("+")[2], "f32"),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
