"""Checkpoints and weights as safetensors: nothing is unpickled, nothing is half-written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from slimpose.formats.files import replace_when_done


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Tensors by name and the metadata beside them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write to a temporary name beside ``path``, flush it to disk, then rename."""
    stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replace_when_done(path) as partial:
        try:
            save_file(stored, partial, metadata=metadata)
        except SafetensorError as error:
            raise RuntimeError(f"cannot write {path}: {error}") from error
        with partial.open("rb") as written:
            os.fsync(written.fileno())


def load(path: Path) -> Checkpoint:
    """Read what ``save`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, or cut off.
    """
    return _read(path, with_tensors=True)


def load_weights(path: Path) -> Checkpoint:
    """Read a net's weights, or a part's: what is to be used, not a run's state to go on from; see ``load``.

    Raises:
        ValueError: Also if it is such a state.
    """
    saved = load(path)
    if "step" in saved.metadata:
        raise ValueError(
            f"{path} is a checkpoint to resume from; expected the run's best.safetensors"
        )
    return saved


def read_metadata(path: Path) -> dict[str, str]:
    """Read what stands beside the tensors, and none of them; see ``load``."""
    return _read(path, with_tensors=False).metadata


def _read(path: Path, *, with_tensors: bool) -> Checkpoint:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as opened:
            names = opened.keys() if with_tensors else []
            tensors = {name: opened.get_tensor(name) for name in names}
            return Checkpoint(tensors=tensors, metadata=opened.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or was cut off: {error}") from error


def load_into(module: nn.Module, tensors: dict[str, Tensor], *, path: Path) -> None:
    """Load tensors into a module, all of them and nothing else.

    Raises:
        ValueError: With the first name that is missing, left over or of another shape.
    """
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise ValueError(
                f"{path} lacks {name} {tuple(tensor.shape)} (another network's weights?)"
            )
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name} is {tuple(tensors[name].shape)}; expected {tuple(tensor.shape)}"
            )
    left = tensors.keys() - own.keys()
    if left:
        raise ValueError(
            f"{path} holds {min(left)}, which the network has not (another network's weights?)"
        )
    module.load_state_dict(tensors)


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
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "adam": {}}
    for name, tensor in checkpoint.tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = tensor
    load_into(model, groups["model"], path=path)
    load_into(averaged, groups["ema"], path=path)
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in groups["adam"].items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    return int(json.loads(checkpoint.metadata["step"]))
