from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny_training
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import Checkpoint, load_checkpoint, load_into, save_checkpoint
from slimpose.train.checkpoint import unpack_training
from slimpose.train.loop import make_optimizer
from tiny_training import tiny_recipe


def test_weights_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.tensor(5), "c": torch.randn(2).half()}
    save_checkpoint(tmp_path / "new" / "x.safetensors", tensors, {"license": "Apache-2.0"})
    loaded = load_checkpoint(tmp_path / "new" / "x.safetensors")
    assert loaded.metadata == {"license": "Apache-2.0"}
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)


def test_failed_save_keeps_the_old_file_only(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"a": torch.zeros(2)}, {"step": 5})  # pyright: ignore[reportArgumentType]
    assert load_checkpoint(path).tensors["a"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(2, 3)}, "lacks bias (2,) (another network's weights?)"),
        ({"weight": torch.ones(4, 3), "bias": torch.ones(2)}, "weight is (4, 3); expected (2, 3)"),
        (
            {"weight": torch.ones(2, 3), "bias": torch.ones(2), "scale": torch.ones(1)},
            "holds scale, which the network does not have (another network's weights?)",
        ),
    ],
)
def test_weights_of_another_network_are_rejected(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_into(nn.Linear(3, 2), tensors, path=Path("w.safetensors"))


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
