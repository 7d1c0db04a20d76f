"""Weights files: what is read back, and what is rejected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slimpose.network.build import build
from slimpose.network.weights import (
    load_checkpoint,
    load_into,
    load_network,
    random_network,
    save_checkpoint,
)
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "segment"}, "task is 'segment'; expected pose"),
        ({"task": "t" * 200_000}, r"task is 'ttt.*\(200000 characters\)"),
        ({"net": "{"}, "net is '{'; expected JSON"),
        ({"net": "null"}, "net is None; expected an object"),
        ({"net": '{"encoder": "mobilenetv2_100", "size": [64]}'}, "size is .*; expected height"),
        (
            {"net": SPEC.to_json().replace('"head_width": 8', '"head_width": -1')},
            "head_width is -1",
        ),
        ({"net": SPEC.to_json().replace('"head_width": 8', '"head_width": 0.5')}, "head_width"),
        ({"alignment": "left"}, "alignment 'left'; expected one of"),
        ({"skeleton": "[]"}, "skeleton is .*; expected an object"),
        ({"recipe": "[" * 100_000}, "metadata: recipe is .*; expected JSON"),
        ({"figures": "[1]"}, r"metadata: figures is \[1\]; expected an object"),
        ({"samples": "many"}, "metadata: samples is 'many'; expected an integer of 0 or more"),
    ],
)
def test_broken_metadata_is_rejected_with_file_and_field(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.safetensors"
    metadata = {"task": "pose", "net": SPEC.to_json()} | changes
    save_checkpoint(path, build(SPEC).state_dict(), metadata)
    with pytest.raises(ValueError, match=message) as raised:
        load_network(path)
    assert str(raised.value).startswith(str(path))
