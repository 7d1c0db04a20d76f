"""Any ONNX file, opened for this machine's CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def open_onnx_file(path: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return the file opened by ONNX Runtime.

    Args:
        path: The file.
        threads: CPU threads; 0 leaves the runtime's choice.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    if threads < 0:
        raise ValueError(f"threads is {threads}; expected 0 (the runtime's choice) or more")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that wait by spinning take the cores from another model's: a third of the time, with two.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not an ONNX file that ONNX Runtime can load (cut off?): {reason}") from error
