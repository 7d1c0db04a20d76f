"""Peak compute of this machine: a large matrix product by the kernels that run the networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from slimpose.runtime.onnx_file import CPU, session_options
from slimpose.runtime.timing import time_interleaved

SIDE = 1024
"""Rows and columns of the matrices, as declared in matmul_fp32.onnx and matmul_int8.onnx.

Each file is one node, ``y = a @ b``: MatMul of floats, or MatMulInteger of uint8 and int8. They
were written once with the onnx package (``helper.make_node(kind, ["a", "b"], ["y"])``, opset 17, IR
version 8). ``b`` is an initializer with ``data_location=EXTERNAL`` and no data, which is supplied
below. As a constant, like a network's weights, it may be packed before the run; as an input it
would be packed in each call, which costs 4 % in INT8.
"""


def peak_gmac_per_s(threads: int, *, rounds: int = 15) -> dict[str, float]:
    """Return the best multiply-adds per second, in 1e9, of FP32 and INT8 matrix products.

    Each is computed ``rounds`` times.
    """
    rng = np.random.default_rng(0)
    floats = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    unsigned = rng.integers(0, 128, (SIDE, SIDE), dtype=np.uint8)
    signed = rng.integers(-127, 128, (SIDE, SIDE)).astype(np.int8)
    peaks: dict[str, float] = {}
    for precision, left, right in (("fp32", floats, floats), ("int8", unsigned, signed)):
        session = open_product(precision, right, threads)
        times = time_interleaved(
            {precision: lambda session=session, left=left: session.run(None, {"a": left})},
            rounds=rounds,
        )
        peaks[precision] = SIDE**3 / (times[precision].min_ms * 1e6)
    return peaks


def open_product(precision: str, right: np.ndarray, threads: int) -> onnxruntime.InferenceSession:
    """Return a session that multiplies its input "a" by a constant matrix; both SIDE x SIDE."""
    options = session_options(threads)
    options.add_external_initializers(["b"], [onnxruntime.OrtValue.ortvalue_from_numpy(right)])
    path = Path(__file__).with_name(f"matmul_{precision}.onnx")
    return onnxruntime.InferenceSession(str(path), options, providers=CPU)
