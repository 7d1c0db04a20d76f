"""Opening any ONNX file with ONNX Runtime, slimpose's own or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimpose.forks import never_closed_in_forks
from slimpose.runtime.machine import check_threads, overflows_int8, read_machine

onnxruntime.disable_telemetry_events()  # on Windows; elsewhere slimpose/__init__.py turns it off

CPU = ("CPUExecutionProvider",)
Provider = str | tuple[str, dict[str, Any]]
_ERROR_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
INPUT_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
}
"""Input types of files from elsewhere that slimpose can run."""


def open_onnx_file(
    path: Path,
    *,
    threads: int | None = None,
    providers: Sequence[Provider] = CPU,
    optimize: bool = True,
) -> onnxruntime.InferenceSession:
    """Return the file opened by ONNX Runtime.

    Args:
        path: The file.
        threads: CPU threads; None for the runtime's choice.
        providers: What computes it, the preferred first: names, or names with options.
        optimize: Whether to optimize the graph; without it, opening is faster, for files that are
            only inspected.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or threads is under 1.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    options = session_options(threads)
    if not optimize:
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        for decode in (io_names, file_metadata):  # fails here, not in the middle of the work
            decode(session)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} has names or metadata that are not UTF-8 text; expected an undamaged ONNX file"
        ) from error
    except Exception as error:  # onnxruntime's errors share no public base
        raise ValueError(
            f"{path} is not an ONNX file that ONNX Runtime can load (truncated?): {reason(error)}"
        ) from error
    return never_closed_in_forks(session)


def reason(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, without its code."""
    return _ERROR_CODE.sub("", str(error).partition("\n")[0])


def session_options(threads: int | None = None) -> onnxruntime.SessionOptions:
    """Return the options of all sessions of ONNX Runtime; None leaves it the number of threads.

    Raises:
        ValueError: If threads is under 1.
    """
    check_threads(threads)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Spinning threads take the cores from another model's: a third of the time, with two models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # INT8 without overflow takes two thirds more time: left out only where it is known to be
    # unnecessary.
    if overflows_int8(read_machine()) is not False:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def io_names(
    session: onnxruntime.InferenceSession,
) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
    """Return name and type of each input, and the names of the outputs."""
    inputs = [(tensor.name, tensor.type) for tensor in session.get_inputs()]
    return inputs, tuple(tensor.name for tensor in session.get_outputs())


def io_shapes(session: onnxruntime.InferenceSession) -> Mapping[str, Sequence[int | None]]:
    """Return the sizes of inputs and outputs by name, None for a free one."""
    return {
        tensor.name: [size if isinstance(size, int) else None for size in tensor.shape]
        for tensor in (*session.get_inputs(), *session.get_outputs())
    }


def file_metadata(session: onnxruntime.InferenceSession) -> Mapping[str, str]:
    """Return the metadata of the opened file."""
    return session.get_modelmeta().custom_metadata_map
