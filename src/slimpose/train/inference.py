"""What is not trained, in OpenVINO: in BF16 it is several times as fast as PyTorch on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder, FrozenStem
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.backends.openvino import new_core, supported_precisions

Compiled = Callable[[np.ndarray], list[np.ndarray]]


def open_core() -> tuple[Any, dict[str, Any], str]:
    """Return an OpenVINO core, how to compile with it, and what it computes in: BF16 if the processor does, else FP32.

    Unlike a session's, its threads may be bound to cores: training calls one model after another.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    core = new_core()
    hint, name = (
        ("bf16", "OpenVINO BF16")
        if "bf16" in supported_precisions(core)
        else ("f32", "OpenVINO FP32")
    )
    hints = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core, hints, name


def compile_module(module: nn.Module) -> tuple[Compiled, str] | None:
    """Return a module of one input as a NumPy function of any shape, and what computes it; None without OpenVINO.

    The module, in evaluation mode, is taken as it is when a shape is seen first, which costs some
    seconds.
    """
    try:
        core, hints, runs_on = open_core()
    except BackendError:
        return None
    import openvino

    @lru_cache(maxsize=4)
    def of(shape: tuple[int, ...], kind: np.dtype[np.generic]) -> openvino.CompiledModel:
        example = torch.from_numpy(np.zeros(shape, kind))
        return core.compile_model(
            openvino.convert_model(torch.export.export(module, (example,))), "CPU", hints
        )

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        return [
            np.array(output, np.float32)
            for output in of(inputs.shape, inputs.dtype)(inputs).values()
        ]

    return function, runs_on


def compute_with_openvino(net: nn.Module) -> tuple[Compiled, str]:
    """Return a net of one input as a NumPy function, and what computes it: a GPU, OpenVINO, or else PyTorch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = compile_module(net) if device.type == "cpu" else None
    if fast is not None:
        return fast
    net.to(device)

    @torch.inference_mode()
    def outputs_of(inputs: np.ndarray) -> list[np.ndarray]:
        outputs = net(torch.from_numpy(inputs).to(device))
        return [
            output.float().cpu().numpy()
            for output in (outputs if isinstance(outputs, tuple) else (outputs,))
        ]

    return outputs_of, f"PyTorch FP32, {device.type}"


def frozen_stem(encoder: Encoder, stages: int) -> FrozenStem | None:
    """Return an encoder's frozen first stages as they are now, compiled; None where there is nothing to gain.

    Where the processor computes BF16, the features then carry its rounding (a few thousandths), in
    training alone.
    """
    if not stages or next(encoder.parameters()).device.type != "cpu":
        return None
    fast = compile_module(copy.deepcopy(encoder.stem_module(stages)).eval())
    if fast is None:
        return None
    outputs_of, _ = fast

    def maps_of(images: Tensor) -> list[Tensor]:
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return [
            torch.from_numpy(found).to(memory_format=torch.channels_last)
            for found in outputs_of(pixels)
        ]

    return FrozenStem(stages, maps_of)
