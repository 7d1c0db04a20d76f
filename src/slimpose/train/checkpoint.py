"""The training state of a run as flat tensors: model, averaged weights, optimizer, step."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn

from slimpose.network.weights import Checkpoint, load_into


def pack_training(
    model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return a run's state as flat tensors by name.

    Names are ``model.*``, ``ema.*`` and ``adam.<parameter>.<moment>``.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"ema.{name}": tensor.clone() for name, tensor in averaged.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"adam.{number}.{moment}": torch.as_tensor(value) for moment, value in state.items()
        }
    return tensors


def unpack_training(
    checkpoint: Checkpoint,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    path: Path,
) -> int:
    """Load a saved state; return the number of steps done before it was saved.

    Raises:
        ValueError: If the file has no training state, or is of another network.
    """
    if "step" not in checkpoint.metadata:
        raise ValueError(
            f"{path} has no training state; expected a checkpoint.safetensors of slimpose train"
        )
    groups: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in checkpoint.tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    load_into(model, groups["model"], path=path)
    load_into(averaged, groups["ema"], path=path)
    state: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in groups["adam"].items():
        number, _, moment = name.partition(".")
        state[int(number)][moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
    return int(json.loads(checkpoint.metadata["step"]))
