"""Weights to start a run from: of ImageNet, of a trunk, or of an earlier run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from slimpose.network.encoder import Encoder
from slimpose.network.growing import load_into_larger
from slimpose.network.imagenet import load_imagenet
from slimpose.network.published import movenet
from slimpose.network.spec import NetSpec
from slimpose.network.weights import Checkpoint, load_into, load_weights
from slimpose.runtime.models import shipped_weights
from slimpose.skeleton import Skeleton
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

IMAGENET = "imagenet"
RANDOM = "random"
_HEAD = "to_heatmaps."
_BATCH_NORM_SAMPLES = 320


def start_file(start: str) -> str:
    """Return the file of a start: of a shipped model's name, otherwise as it is.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if start in (IMAGENET, RANDOM) or Path(start).is_file():
        return start
    shipped = shipped_weights()
    if start in shipped:
        return str(shipped[start])
    raise FileNotFoundError(
        f"no start file {start} (expected a file, one of {', '.join(sorted(shipped))}, or the "
        f"words {IMAGENET} or {RANDOM})"
    )


def load_start(task: Task, recipe: Recipe, start: str, skeleton: Skeleton | None = None) -> str:
    """Load the weights to start from into a task's model; return their description, for metadata.

    ``start`` is "imagenet", a trunk of ``slimpose import-trunk``, or weights of this network or of
    a part of it. A folded trunk also needs the task's images. Of weights of another skeleton the
    head is kept only for the joints of ``skeleton`` that it has too, by name; the others' is new.
    Without a skeleton (a detector) the weights must be of the same joints.

    Raises:
        ValueError: If the file does not fit the network, or the network has no encoder to load
            other weights into.
        RuntimeError: If ImageNet weights are wanted and not available.
    """
    path = Path(start)
    weights = None if start == IMAGENET else load_weights(path)
    if weights is not None and "trunk" not in weights.metadata:
        note = ""
        if skeleton is not None:
            weights, note = _with_new_head(task.model, weights, skeleton)
        return _load_network(task.model, weights, path) + note
    net = recipe.net
    encoder = task.model.get_submodule("encoder") if isinstance(net, NetSpec) else None
    if not isinstance(net, NetSpec) or not isinstance(encoder, Encoder):
        raise ValueError(
            f"{recipe.name} has no encoder to start from {start}; expected a file of its own"
            " weights"
        )
    if weights is None:
        return f"ImageNet, {load_imagenet(encoder, net)}"
    own = encoder.state_dict()
    # An encoder that ends at stride 16 does not use the trunk's last stages.
    used = {
        name: tensor
        for name, tensor in weights.tensors.items()
        if name in own or net.encoder_stride == 32
    }
    load_into(encoder, used, path=path)
    if weights.metadata.get("folded") == "1":
        images = (
            torch.from_numpy(task.images_of(task.batch_at(step)))
            for step in range(max(1, _BATCH_NORM_SAMPLES // recipe.batch))
        )
        movenet.unfold_batch_norm(encoder, images)
    return weights.metadata.get("origin", path.name)


def _with_new_head(
    model: nn.Module, weights: Checkpoint, skeleton: Skeleton
) -> tuple[Checkpoint, str]:
    """Return weights with a head for the skeleton's joints, and a note of what is new in it."""
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(_HEAD)}
    if not own.keys() <= weights.tensors.keys() or "skeleton" not in weights.metadata or not own:
        return weights, ""
    before = Skeleton.from_json(weights.metadata["skeleton"])
    if skeleton.has_same_joints(before):
        return weights, ""
    rows_before = {name: row for row, name in enumerate(before.mirror.plain_names)}
    rows = {
        row: rows_before[name]
        for row, name in enumerate(skeleton.mirror.plain_names)
        if name in rows_before
    }
    tensors = dict(weights.tensors)
    for name, tensor in own.items():
        head = tensor.clone()
        if tensors[name].shape[1:] != head.shape[1:] or len(tensors[name]) != len(before.joints):
            rows = {}
        for row, row_before in rows.items():
            head[row] = tensors[name][row_before]
        tensors[name] = head
    new = len(skeleton.joints) - len(rows)
    note = f", with a new head for {new} of {len(skeleton.joints)} joints"
    return Checkpoint(tensors=tensors, metadata=weights.metadata), note


def _load_network(model: nn.Module, weights: Checkpoint, path: Path) -> str:
    """Load weights of the network or of a part of it; return a description of them."""
    description = f"{path.name} ({weights.metadata.get('start', 'start unknown')})"
    if weights.tensors.keys() < model.state_dict().keys():
        added = load_into_larger(model, weights.tensors, path=path)
        return f"{description}, {len(added)} parts added"
    load_into(model, weights.tensors, path=path)
    return description
