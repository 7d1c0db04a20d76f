"""Fast inference during training with OpenVINO: in BF16 several times as fast as PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder, FrozenStem, StemModule
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.backends.openvino import new_core, supported_precisions

Compiled = Callable[[np.ndarray], list[np.ndarray]]


def open_core() -> tuple[Any, dict[str, Any], str]:
    """Return an OpenVINO core, its compile options, and its name with the precision.

    The precision is BF16 if the processor supports it, else FP32. Unlike those of a session, the
    threads may be bound to cores: training calls one model after another.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    core = new_core()
    has_bf16 = "bf16" in supported_precisions(core)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core, options, "OpenVINO BF16" if has_bf16 else "OpenVINO FP32"


def compile_module(module: nn.Module) -> tuple[Compiled, str] | None:
    """Compile a module of one input with OpenVINO; None if OpenVINO is not installed.

    Returns a NumPy function for inputs of any shape and the name of what computes it. The module
    must be in evaluation mode. Each new shape compiles it as it is then, which takes some seconds.
    """
    try:
        core, options, name = open_core()
    except BackendError:
        return None
    import openvino

    @lru_cache(maxsize=4)
    def compiled(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> openvino.CompiledModel:
        example = torch.from_numpy(np.zeros(shape, dtype))
        converted = openvino.convert_model(torch.export.export(module, (example,)))
        return core.compile_model(converted, "CPU", options)

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        outputs = compiled(inputs.shape, inputs.dtype)(inputs).values()
        return [np.array(output, np.float32) for output in outputs]

    return function, name


def compile_for_inference(net: nn.Module) -> tuple[Compiled, str]:
    """Return a network of one input as a NumPy function, and the name of what computes it.

    That is a GPU if there is one, else OpenVINO if it is installed, else PyTorch.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compiled = compile_module(net) if device.type == "cpu" else None
    if compiled is not None:
        return compiled
    net.to(device)

    @torch.inference_mode()
    def function(inputs: np.ndarray) -> list[np.ndarray]:
        outputs = net(torch.from_numpy(inputs).to(device))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.float().cpu().numpy() for output in outputs]

    return function, f"PyTorch FP32, {device.type}"


def compile_frozen_stem(encoder: Encoder, stages: int) -> FrozenStem | None:
    """Compile an encoder's frozen first stages as they are now; None if nothing can be gained.

    On a processor with BF16 the features then have its rounding errors (a few thousandths), in
    training only.
    """
    if not stages or next(encoder.parameters()).device.type != "cpu":
        return None
    compiled = compile_module(copy.deepcopy(StemModule(encoder, stages)).eval())
    if compiled is None:
        return None
    stem, _ = compiled

    def features(images: Tensor) -> list[Tensor]:
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return [
            torch.from_numpy(output).to(memory_format=torch.channels_last)
            for output in stem(pixels)
        ]

    return FrozenStem(stages, features)
