"""ONNX Runtime on NVIDIA GPUs, through its TensorRT and CUDA providers.

Not tested on a device: there was none. The engine that TensorRT builds (minutes, once) is kept in
the user's cache folder, by file, precision and ONNX Runtime's version. It serves all batch sizes up
to ``MAX_BATCH`` and is fastest at ``OPTIMAL_BATCH``: nothing is rebuilt when the number of people
changes. An INT8 file contains its scales (Q/DQ nodes), so no calibration table is needed. FP32 is
FP32 (no TF32).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime

from slimpose.runtime.backends.base import BackendError, BackendSpec, Installation
from slimpose.runtime.backends.onnxruntime import OnnxRuntimeGraph
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.onnx_file import Provider, open_onnx_file

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PRECISIONS = {"tensorrt": ("fp32", "fp16"), "cuda": ("fp32",)}
_INSTALL = {
    "tensorrt": "pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt",
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
}
MAX_BATCH = 64
OPTIMAL_BATCH = 8


class OnnxRuntimeGpuGraph(OnnxRuntimeGraph):
    """An ONNX file on an NVIDIA device: a ``Graph``.

    Raises:
        BackendError: If the provider is not installed or cannot be loaded, or does not compute in
            that precision.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file.
    """

    def __init__(
        self, path: Path, *, backend: str, threads: int | None, precision: str | None
    ) -> None:
        available = onnxruntime.get_available_providers()
        if PROVIDERS[backend] not in available:
            raise BackendError(
                f"{backend} is not installed: this ONNX Runtime has {', '.join(available)}; "
                f"{_INSTALL[backend]} (needs an NVIDIA device and its driver)"
            )
        unoptimized = open_onnx_file(path, optimize=False)
        self._describe(unoptimized, backend, precision, supported=_PRECISIONS[backend])
        shape = unoptimized.get_inputs()[0].shape[1:]
        providers = provider_options(
            backend, path, input_name=self._input, shape=shape, precision=self.precision
        )
        self._session = open_onnx_file(path, threads=threads, providers=providers)
        # When a provider cannot be loaded, ONNX Runtime takes the next one and only logs it.
        if (used := self._session.get_providers()[0]) != PROVIDERS[backend]:
            raise BackendError(
                f"{backend} is in this ONNX Runtime but could not be started, so {used} took its "
                "place; expected an NVIDIA device, its driver, and the CUDA and TensorRT libraries "
                "that this version of onnxruntime-gpu was built for"
            )


def provider_options(
    backend: str, path: Path, *, input_name: str, shape: Sequence[Any], precision: str
) -> tuple[Provider, ...]:
    """Return ONNX Runtime's providers with their options, the requested one first."""
    cuda: Provider = (PROVIDERS["cuda"], {"use_tf32": "0"})
    if backend == "cuda":
        return cuda, "CPUExecutionProvider"
    folder = engine_folder(path, precision)
    folder.mkdir(parents=True, exist_ok=True)
    item = "x".join(str(size) for size in shape)
    options = {
        "trt_fp16_enable": str("fp16" in precision),
        "trt_int8_enable": str(precision.startswith("int8")),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_profile_min_shapes": f"{input_name}:1x{item}",
        "trt_profile_opt_shapes": f"{input_name}:{OPTIMAL_BATCH}x{item}",
        "trt_profile_max_shapes": f"{input_name}:{MAX_BATCH}x{item}",
    }
    return (PROVIDERS["tensorrt"], options), cuda, "CPUExecutionProvider"


def engine_folder(path: Path, precision: str) -> Path:
    """Return the folder of a file's engines; it differs by weights and ONNX Runtime's version."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return cache_folder() / "tensorrt" / f"{digest}-{precision}-ort{onnxruntime.__version__}"


def _detect(backend: str) -> Installation | None:
    provider = PROVIDERS[backend]
    if provider not in onnxruntime.get_available_providers():
        return None
    return Installation(onnxruntime.__version__, _PRECISIONS[backend], (provider,))


TENSORRT, CUDA = (
    BackendSpec(
        name=name,
        install=_INSTALL[name],
        open_graph=partial(OnnxRuntimeGpuGraph, backend=name),
        detect=partial(_detect, name),
    )
    for name in PROVIDERS
)
