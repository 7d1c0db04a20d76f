from __future__ import annotations

from pathlib import Path

import pytest

import tiny_training
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import Checkpoint
from slimpose.train.checkpoint import unpack_training
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
            path=Path("best.safetensors"),
        )
