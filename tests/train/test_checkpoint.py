from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import tiny_training
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import Checkpoint
from slimpose.train.checkpoint import pack_training, unpack_training
from slimpose.train.loop import make_optimizer
from tiny_training import tiny_recipe


def test_weights_without_training_state_are_rejected() -> None:
    model = PoseNet(tiny_training.NET)
    weights = Checkpoint(tensors={}, metadata={})
    with pytest.raises(
        ValueError, match=r"has no training state; expected a checkpoint\.safetensors"
    ):
        unpack_training(
            weights,
            model,
            model,
            make_optimizer(model, tiny_recipe()),
            steps=12,
            path=Path("best.safetensors"),
        )


@pytest.mark.parametrize("step", ["null", "1e9", "1000000000", "-1", "1.5", '"all"', "[", "true"])
def test_impossible_step_is_rejected(step: str) -> None:
    model = PoseNet(tiny_training.NET)
    saved = Checkpoint(tensors={}, metadata={"step": step})
    optimizer = make_optimizer(model, tiny_recipe())
    with pytest.raises(ValueError, match=r"^run\.safetensors: step is .*; expected"):
        unpack_training(saved, model, model, optimizer, steps=12, path=Path("run.safetensors"))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("adam.x.exp_avg", torch.zeros(1), "the parameter of 'adam.x.exp_avg' is 'x'; expected"),
        ("adam.0.exp_avg", torch.zeros(1), "adam.0 has ['exp_avg']; expected exp_avg, exp_avg_sq"),
        ("adam.9999.exp_avg", torch.zeros(1), "adam.9999 has ['exp_avg']; expected"),
    ],
)
def test_broken_optimizer_state_is_rejected(name: str, tensor: torch.Tensor, message: str) -> None:
    model = PoseNet(tiny_training.NET)
    optimizer = make_optimizer(model, tiny_recipe())
    tensors = pack_training(model, model, optimizer) | {name: tensor}
    saved = Checkpoint(tensors=tensors, metadata={"step": "3"})
    with pytest.raises(ValueError, match=re.escape(message)):
        unpack_training(saved, model, model, optimizer, steps=12, path=Path("run.safetensors"))
