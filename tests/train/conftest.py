"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny_training
from slimpose.network.pose_net import PoseNet


@pytest.fixture(scope="module")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``tiny_training.write_people``."""
    folder = tmp_path_factory.mktemp("people")
    tiny_training.write_people(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network that was not trained."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    return tiny_training.save_net(path, PoseNet(tiny_training.NET))
