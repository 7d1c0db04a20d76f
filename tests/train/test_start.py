from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tiny_training
from slimpose.network.encoder import Encoder
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_weights, read_metadata, save_checkpoint
from slimpose.skeleton import COCO17, Skeleton
from slimpose.train.pose_task import PoseTask
from slimpose.train.recipes import RECIPES
from slimpose.train.start import load_start, start_file
from tiny_training import tiny_recipe, tiny_task, training_data

pytestmark = pytest.mark.usefixtures("one_thread")


def test_run_starts_from_weights_of_an_earlier_run(people_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    weights = PoseNet(tiny_training.NET).state_dict()
    save_checkpoint(path, weights, {})
    recipe = tiny_recipe(seed=9)
    task = tiny_task(recipe, people_folder)
    assert load_start(task, recipe, str(path)) == "best.safetensors (start unknown)"
    for name, tensor in task.model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_compared_net_starts_only_from_its_own_weights(people_folder: Path, tmp_path: Path) -> None:
    recipe = RECIPES["efficientpose-a"]()
    assert recipe.start == ""
    assert RECIPES["simplebaseline-r50"]().start == "imagenet"
    task = PoseTask(recipe, training_data(people_folder))
    with pytest.raises(ValueError, match="efficientpose-a has no encoder to start from imagenet"):
        load_start(task, recipe, "imagenet")
    own = tmp_path / "own.safetensors"
    tensors = {name: torch.full_like(tensor, 2) for name, tensor in task.model.state_dict().items()}
    save_checkpoint(own, tensors, {"start": "elsewhere"})
    assert load_start(task, recipe, str(own)) == "own.safetensors (elsewhere)"
    assert all((tensor == 2).all() for tensor in task.model.state_dict().values())


def test_encoder_of_stride_16_starts_from_a_longer_trunk(
    people_folder: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    trunk = Encoder(tiny_training.NET)
    save_checkpoint(
        tmp_path / "trunk.safetensors", trunk.state_dict(), {"trunk": "mobilenetv2_100"}
    )
    short = dataclasses.replace(
        recipe, net=dataclasses.replace(recipe.net, encoder_stride=16, deconv_widths=(16, 16))
    )
    task = tiny_task(short, people_folder)
    load_start(task, short, str(tmp_path / "trunk.safetensors"))
    whole = trunk.state_dict()
    own = task.model.get_submodule("encoder").state_dict()
    assert 0 < len(own) < len(whole)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in own.items())


def test_folded_trunk_gets_batch_norm_statistics_from_the_first_batches(
    people_folder: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    trunk = Encoder(tiny_training.NET)
    metadata = {"trunk": tiny_training.NET.encoder, "folded": "1", "origin": "a graph"}
    save_checkpoint(tmp_path / "trunk.safetensors", trunk.state_dict(), metadata)
    task = tiny_task(recipe, people_folder)
    assert load_start(task, recipe, str(tmp_path / "trunk.safetensors")) == "a graph"
    encoder = task.model.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    pixels = torch.from_numpy(task.images_of(task.batch_at(0))).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.eval()(pixels)[-1], trunk.eval()(pixels)[-1], atol=1e-4, rtol=1e-3
        )
    has_mean = [
        module.running_mean.abs().max() > 0
        for module in encoder.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
    ]
    assert all(has_mean)


def test_checkpoint_is_not_a_start(people_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"model.a": torch.ones(1)}, {"step": "4"})
    recipe = tiny_recipe()
    with pytest.raises(
        ValueError, match=r"checkpoint to resume from; expected the run's best\.safetensors"
    ):
        load_start(tiny_task(recipe, people_folder), recipe, str(path))


def test_weights_of_other_keypoints_get_a_new_head(tmp_path: Path) -> None:
    """Three of COCO's keypoints in another order and naming, and a new one."""
    path = tiny_training.save_net(tmp_path / "best.safetensors", PoseNet(tiny_training.NET))
    before = load_weights(path).tensors
    own = Skeleton(name="own", joints=("REye", "tail", "Nose", "LWrist"))
    recipe = tiny_recipe()
    recipe = dataclasses.replace(recipe, net=dataclasses.replace(recipe.net, joints=4))
    model = PoseNet(dataclasses.replace(tiny_training.NET, joints=4))
    new = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task = SimpleNamespace(model=model)
    note = load_start(task, recipe, str(path), own)  # pyright: ignore[reportArgumentType]
    assert note == "best.safetensors (start unknown), with a new head for 1 of 4 joints"
    after = model.state_dict()
    for row, joint in ((0, "right_eye"), (2, "nose"), (3, "left_wrist")):
        expected = before["to_heatmaps.weight"][COCO17.joints.index(joint)]
        assert torch.equal(after["to_heatmaps.weight"][row], expected)
    assert torch.equal(after["to_heatmaps.weight"][1], new["to_heatmaps.weight"][1])
    for name, tensor in after.items():
        assert name.startswith("to_heatmaps.") or torch.equal(tensor, before[name])


def test_names_of_shipped_models_are_starts() -> None:
    for name in ("mnv2", "detector"):
        assert read_metadata(Path(start_file(name)))["net"]
    with pytest.raises(FileNotFoundError, match=r"no start file mnv3 \(expected a file, one of"):
        start_file("mnv3")
