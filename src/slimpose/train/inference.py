"""What is not trained, as a compiled function: OpenVINO in BF16 is several times as fast as PyTorch on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder, Front

Compiled = Callable[[np.ndarray], list[np.ndarray]]


def compiled(module: nn.Module) -> Compiled | None:
    """Return a module of one input as a NumPy function of any shape; None where OpenVINO is not installed.

    The module is taken as it is now, in evaluation mode; each new shape costs some seconds once.
    """
    try:
        import openvino
    except ModuleNotFoundError:
        return None
    core = openvino.Core()
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }

    @lru_cache(maxsize=4)
    def of(shape: tuple[int, ...], kind: np.dtype[np.generic]) -> openvino.CompiledModel:
        example = torch.from_numpy(np.zeros(shape, kind))
        return core.compile_model(openvino.convert_model(torch.export.export(module, (example,))), "CPU", hints)

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        return [np.array(output, np.float32) for output in of(inputs.shape, inputs.dtype)(inputs).values()]

    return function


def frozen_front(encoder: Encoder, stages: int) -> Front | None:
    """Return an encoder's frozen first stages as they are now, compiled; None where there is nothing to gain.

    The features then carry BF16's rounding (a few thousandths), in training alone.
    """
    if not stages or next(encoder.parameters()).device.type != "cpu":
        return None
    fast = compiled(copy.deepcopy(encoder.front_module(stages)).eval())
    if fast is None:
        return None

    def maps_of(images: Tensor) -> list[Tensor]:
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return [torch.from_numpy(found).to(memory_format=torch.channels_last) for found in fast(pixels)]

    return Front(stages, maps_of)
