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
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

IMAGENET = "imagenet"
RANDOM = "random"
_BATCH_NORM_SAMPLES = 320


def load_start(task: Task, recipe: Recipe, start: str) -> str:
    """Load the weights to start from into a task's model; return their description, for metadata.

    ``start`` is "imagenet", a trunk of ``slimpose import-trunk``, or weights of this network or of
    a part of it. A folded trunk also needs the task's images.

    Raises:
        ValueError: If the file does not fit the network, or the network has no encoder to load
            other weights into.
        RuntimeError: If ImageNet weights are wanted and not available.
    """
    path = Path(start)
    weights = None if start == IMAGENET else load_weights(path)
    if weights is not None and "trunk" not in weights.metadata:
        return _load_network(task.model, weights, path)
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


def _load_network(model: nn.Module, weights: Checkpoint, path: Path) -> str:
    """Load weights of the network or of a part of it; return a description of them."""
    description = f"{path.name} ({weights.metadata.get('start', 'start unknown')})"
    if weights.tensors.keys() < model.state_dict().keys():
        added = load_into_larger(model, weights.tensors, path=path)
        return f"{description}, {len(added)} parts added"
    load_into(model, weights.tensors, path=path)
    return description
