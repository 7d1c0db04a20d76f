"""NVIDIA's TensorRT and CUDA, as ONNX Runtime's providers. Not run here: there is no such device.

The engine that TensorRT builds (minutes, once) is kept in the user's cache folder, by file,
precision and ONNX Runtime's version. It serves all batch sizes up to ``MOST_IN_A_BATCH`` and is
best at ``USUAL_IN_A_BATCH``: nothing is built again when people come and go. An INT8 file brings
its scales (Q/DQ nodes), so no calibration table is needed; FP32 is FP32 (no TF32).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimpose.runtime.backends.base import INSTALL, BackendError, file_precision, resolve_precision
from slimpose.runtime.backends.onnxruntime import run_session
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.onnx_file import Provider, file_metadata, io_names, open_onnx_file

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
OFFERED = {"tensorrt": ("fp32", "fp16"), "cuda": ("fp32",)}
MAX_BATCH = 64
OPTIMAL_BATCH = 8


class OnnxRuntimeGpuGraph:
    """A model file on an NVIDIA device: a ``Graph``.

    Raises:
        BackendError: If the provider is absent or cannot be loaded, or does not compute in that
            precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file.
    """

    def __init__(self, path: Path, *, backend: str, threads: int, precision: str = "") -> None:
        if PROVIDERS[backend] not in onnxruntime.get_available_providers():
            raise BackendError(
                f"{backend} is not there: this ONNX Runtime has {', '.join(onnxruntime.get_available_providers())}; "
                f"{INSTALL[backend]} (needs an NVIDIA device and its driver)"
            )
        plain = open_onnx_file(path, optimize=False)
        self.metadata: Mapping[str, str] = file_metadata(plain)
        self.inputs, self.outputs = io_names(plain)
        own = file_precision(self.metadata)
        self.precision = resolve_precision(
            backend, file_precision=own, requested=precision, supported=OFFERED[backend]
        )
        put = plain.get_inputs()[0]
        self._input = put.name
        chosen = provider_options(
            backend, path, input_name=put.name, shape=put.shape[1:], precision=self.precision
        )
        self._session = open_onnx_file(path, threads=threads, providers=chosen)
        # ONNX Runtime goes on with the next provider when one cannot be loaded, and says so in a
        # log only.
        if self._session.get_providers()[0] != PROVIDERS[backend]:
            raise BackendError(
                f"{backend} is in this ONNX Runtime but could not be started, so {self._session.get_providers()[0]} "
                "took its place; expected an NVIDIA device, its driver, and the CUDA and TensorRT libraries that this "
                "version of onnxruntime-gpu was built for"
            )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        return run_session(self._session, self._input, batch, outputs)


def provider_options(
    backend: str, path: Path, *, input_name: str, shape: Sequence[Any], precision: str
) -> tuple[Provider, ...]:
    """Return ONNX Runtime's providers with their options, the one asked for first."""
    cuda: Provider = (PROVIDERS["cuda"], {"use_tf32": "0"})
    if backend == "cuda":
        return cuda, "CPUExecutionProvider"
    kept = engine_folder(path, precision)
    kept.mkdir(parents=True, exist_ok=True)
    each = "x".join(str(size) for size in shape)
    options = {
        "trt_fp16_enable": str("fp16" in precision),
        "trt_int8_enable": str(precision.startswith("int8")),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(kept),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(kept),
        "trt_profile_min_shapes": f"{input_name}:1x{each}",
        "trt_profile_opt_shapes": f"{input_name}:{OPTIMAL_BATCH}x{each}",
        "trt_profile_max_shapes": f"{input_name}:{MAX_BATCH}x{each}",
    }
    return (PROVIDERS["tensorrt"], options), cuda, "CPUExecutionProvider"


def engine_folder(path: Path, precision: str) -> Path:
    """Return the folder of a file's engines: another one for changed weights or another ONNX Runtime."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return cache_folder() / "tensorrt" / f"{digest}-{precision}-ort{onnxruntime.__version__}"
