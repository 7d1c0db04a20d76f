"""The training state of a run as flat tensors: model, averaged weights, optimizer, step."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn

from slimpose import fields
from slimpose.messages import quoted
from slimpose.network.weights import Checkpoint, load_into

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def pack_training(
    model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return a run's state as flat tensors by name.

    Names are ``model.*``, ``ema.*``, ``adam.<parameter>.<moment>`` and ``peak.<group>``, the
    learning rates.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"ema.{name}": tensor.clone() for name, tensor in averaged.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"adam.{number}.{moment}": torch.as_tensor(value) for moment, value in state.items()
        }
    for number, group in enumerate(optimizer.param_groups):
        tensors[f"peak.{number}"] = torch.tensor(group["peak"], dtype=torch.float64)
    return tensors


def unpack_training(
    checkpoint: Checkpoint,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    path: Path,
) -> int:
    """Load a saved state; return the number of steps done before it was saved.

    Raises:
        ValueError: If the file has no training state, is of another network, or has done more than
            the run's ``steps``.
    """
    if "step" not in checkpoint.metadata:
        raise ValueError(
            f"{path} has no training state; expected a checkpoint.safetensors of slimpose train"
        )
    where = f"{path}: step"
    done = fields.integer(
        fields.from_json(checkpoint.metadata["step"], where), where, low=0, high=steps
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
        place = f"{path}: the parameter of {quoted(f'adam.{name}')}"
        state[fields.integer(number, place, low=0)][moment] = tensor
    _check_moments(state, optimizer, path)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
    for number, peak in groups["peak"].items():  # files of before 2026-11-29 have none
        _set_peak(optimizer, number, peak, path)
    return done


def _set_peak(optimizer: torch.optim.Optimizer, number: str, peak: Tensor, path: Path) -> None:
    """Set a group's learning rate, which is relative to the weights at the start of the run."""
    place, groups = f"{path}: peak.{number}", optimizer.param_groups
    group = groups[fields.integer(number, f"{place}: the group", low=0, high=len(groups) - 1)]
    if peak.numel() != 1:
        raise ValueError(f"{place} has {peak.numel()} values; expected one learning rate")
    group["peak"] = fields.number(peak.item(), place, low=0)


def _check_moments(
    state: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer, path: Path
) -> None:
    """Check that every moment of Adam belongs to a parameter and has its shape."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for number, moments in state.items():
        if number >= len(parameters) or not moments.keys() >= _MOMENTS:
            raise ValueError(
                f"{path}: adam.{number} has {quoted(sorted(moments))}; expected "
                f"{', '.join(sorted(_MOMENTS))} of parameters 0..{len(parameters) - 1}"
            )
        shape = parameters[number].shape
        for moment in _MOMENTS - {"step"}:
            if moments[moment].shape != shape:
                raise ValueError(
                    f"{path}: adam.{number}.{moment} is {tuple(moments[moment].shape)}; expected "
                    f"{tuple(shape)}"
                )
