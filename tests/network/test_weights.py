"""Weights files: what is read back, and what is rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slimpose.network.build import build
from slimpose.network.weights import load_network, random_network, save_checkpoint
from tiny_training import SHALLOW as SPEC


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_checkpoint(path, build(SPEC).state_dict(), {"task": "pose", "net": SPEC.to_json()})
    return path


def test_network_is_built_from_the_metadata(weights: Path) -> None:
    loaded = load_network(weights)
    assert (loaded.spec, loaded.task, len(loaded.sha256)) == (SPEC, "pose", 64)
    assert not loaded.net.training


def test_random_network_has_the_task_of_its_spec_by_default() -> None:
    assert random_network(SPEC).task == "pose"
    assert random_network(SPEC, task="bottom-up").metadata["task"] == "bottom-up"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"not weights at all", "not a safetensors file"),
    ],
)
def test_broken_file_is_rejected(
    weights: Path, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_network(broken)


def test_file_without_a_network_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"trunk": "mobilenetv2_100"})
    with pytest.raises(ValueError, match="does not say which network"):
        load_network(path)
