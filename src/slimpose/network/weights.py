"""Weights and checkpoints as safetensors files: nothing is unpickled, no file is half-written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from slimpose import fields
from slimpose.formats.files import check_utf8, replace_when_done
from slimpose.network.build import (
    Net,
    Spec,
    alignment_from_metadata,
    build,
    net_from_metadata,
    spec_from_json,
)
from slimpose.skeleton import Skeleton
from slimpose.tasks import Task, parse_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The content of a safetensors file: tensors by name and metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def save_checkpoint(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file under a temporary name, flush it to disk, then rename it."""
    stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replace_when_done(path) as partial:
        try:
            save_file(stored, partial, metadata=metadata)
        except SafetensorError as error:
            raise RuntimeError(f"cannot write {path}: {error}") from error
        with partial.open("rb") as written:
            os.fsync(written.fileno())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a safetensors file: weights, or the training state of a run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, or is truncated.
    """
    return _read(path, with_tensors=True)


def load_weights(path: Path) -> Checkpoint:
    """Read the weights of a network or of a part of one; see ``load_checkpoint``.

    Raises:
        ValueError: Also if the file holds a training state to resume from.
    """
    saved = load_checkpoint(path)
    if "step" in saved.metadata:
        raise ValueError(
            f"{path} is a checkpoint to resume from; expected the run's best.safetensors"
        )
    return saved


def read_metadata(path: Path) -> dict[str, str]:
    """Read a file's metadata without its tensors; see ``load_checkpoint``."""
    return _read(path, with_tensors=False).metadata


def _read(path: Path, *, with_tensors: bool) -> Checkpoint:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    check_utf8(path)
    try:
        with safe_open(path, framework="pt") as opened:
            names = opened.keys() if with_tensors else []
            tensors = {name: opened.get_tensor(name) for name in names}
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or is truncated: {error}") from error
    _check_metadata(metadata, path)
    return Checkpoint(tensors=tensors, metadata=metadata)


def _check_metadata(metadata: dict[str, str], path: Path) -> None:
    """Check what every reader relies on; a recipe's settings are checked where it is used."""
    where = f"{path}: metadata"
    for name in ("recipe", "figures"):
        if name in metadata:
            what = f"{where}: {name}"
            fields.table(fields.from_json(metadata[name], what), what)
    if "samples" in metadata:
        fields.integer(metadata["samples"], f"{where}: samples", low=0)
    checks: dict[str, Callable[[str], object]] = {
        "task": parse_task,
        "net": spec_from_json,
        "skeleton": Skeleton.from_json,
        "alignment": lambda _: alignment_from_metadata(metadata),
    }
    for name, parse in checks.items():
        if name in metadata:
            try:
                parse(metadata[name])
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error


def load_into(module: nn.Module, tensors: dict[str, Tensor], *, path: Path) -> None:
    """Load tensors into a module; names and shapes must match exactly.

    Raises:
        ValueError: With the first name that is missing, unexpected or of another shape.
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
    unexpected = tensors.keys() - own.keys()
    if unexpected:
        raise ValueError(
            f"{path} holds {min(unexpected)}, which the network does not have "
            "(another network's weights?)"
        )
    module.load_state_dict(tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A network with its weights and the metadata of their file.

    Attributes:
        net: In evaluation mode.
        spec: Of ``net``.
        task: "pose", "detect" or "bottom-up".
        metadata: Of the file.
        sha256: Of the file, as hexadecimal digits; empty for random weights.
    """

    net: Net
    spec: Spec
    task: Task
    metadata: dict[str, str]
    sha256: str


def load_network(path: Path) -> LoadedNetwork:
    """Build the network that a weights file describes and load the weights into it.

    Args:
        path: best.safetensors of a run, or a file written by ``slimpose import-weights``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold the weights of a slimpose network.
    """
    saved = load_weights(path)
    if not {"task", "net"} <= saved.metadata.keys():
        raise ValueError(
            f"{path} does not say which network it holds; "
            "expected best.safetensors written by slimpose train"
        )
    try:
        net = net_from_metadata(saved.metadata)
    except (ValueError, RuntimeError) as error:  # RuntimeError: PyTorch cannot build it
        raise ValueError(f"{path}: {error}") from error
    load_into(net, saved.tensors, path=path)
    return LoadedNetwork(
        net=net.eval(),
        spec=net.spec,
        task=parse_task(saved.metadata["task"]),
        metadata=saved.metadata,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def random_network(spec: Spec, *, task: Task | None = None) -> LoadedNetwork:
    """Return a network with random weights, for measuring speed; the spec's task by default."""
    task = task or spec.task
    metadata = {"task": task, "net": spec.to_json(), "start": "random weights, untrained"}
    return LoadedNetwork(net=build(spec).eval(), spec=spec, task=task, metadata=metadata, sha256="")
