"""Any ONNX file, opened by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimpose.runtime.machine import overflows_int8, read_machine

CPU = ("CPUExecutionProvider",)
Provider = str | tuple[str, dict[str, Any]]
INPUT_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}
"""Of other people's files that may be run here."""


def open_onnx_file(
    path: Path, *, threads: int = 0, providers: Sequence[Provider] = CPU, optimize: bool = True
) -> onnxruntime.InferenceSession:
    """Return the file opened by ONNX Runtime.

    Args:
        path: The file.
        threads: CPU threads; 0 leaves the runtime's choice.
        providers: What computes it, the best first: names, or names with options.
        is_to_run: Without, the graph is only looked at: nothing is optimized, which is faster.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    if threads < 0:
        raise ValueError(f"threads is {threads}; expected 0 (the runtime's choice) or more")
    options = session_options(threads)
    if not optimize:
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors share no public base
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is not an ONNX file that ONNX Runtime can load (cut off?): {reason}"
        ) from error


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return how ONNX Runtime is to compute, everywhere; 0 threads leaves its choice."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that wait by spinning take the cores from another model's: a third of the time, with
    # two.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # INT8 without overflow, which costs two thirds of the time more: left out where it is known to
    # be needless.
    if overflows_int8(read_machine()) is not False:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def io_names(
    session: onnxruntime.InferenceSession,
) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
    """Return name and type of each input, and the names of the outputs."""
    return [(put.name, put.type) for put in session.get_inputs()], tuple(
        put.name for put in session.get_outputs()
    )


def file_metadata(session: onnxruntime.InferenceSession) -> Mapping[str, str]:
    """Return what the file says of itself."""
    return session.get_modelmeta().custom_metadata_map
