from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny_training
from slimpose.network.high_resolution import HR, HighResolutionNet
from slimpose.network.pose_net import PoseNet
from slimpose.network.pyramid_detector import PYRAMID, PyramidDetector
from slimpose.network.weights import load_checkpoint, save_checkpoint
from slimpose.train.checkpoint import pack_training, unpack_training
from slimpose.train.loop import make_optimizer, train, update_ema
from slimpose.train.recipe import Phase
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_batch_is_overfitted(people_folder: Path) -> None:
    recipe = tiny_recipe(
        phases=(Phase(size=tiny_training.SIZE, samples=4 * 120),), learning_rate=4e-3
    )
    task = tiny_task(recipe, people_folder)
    batch = task.batch_at(0)
    steps = train(
        model=task.model,
        averaged=tiny_task(recipe, people_folder).model,
        optimizer=make_optimizer(task.model, recipe),
        recipe=recipe,
        batches=itertools.repeat(batch),
        loss=task.loss,
    )
    losses = [step.loss for step in steps]
    assert losses[0] == pytest.approx(1, abs=0.15)  # all-zero maps cost 1
    assert losses[-1] < 0.4 * losses[0]


def test_nan_loss_stops_the_run(people_folder: Path) -> None:
    recipe = tiny_recipe()
    task = tiny_task(recipe, people_folder)
    with pytest.raises(
        FloatingPointError, match="loss is nan at step 0; the learning rate may be too high"
    ):
        next(
            train(
                model=task.model,
                averaged=task.model,
                optimizer=make_optimizer(task.model, recipe),
                recipe=recipe,
                batches=itertools.repeat(task.batch_at(0)),
                loss=lambda model, batch: task.loss(model, batch) * float("nan"),
            )
        )


def test_weight_decay_and_encoder_rate_apply_to_their_parameters() -> None:
    recipe = tiny_recipe(encoder_rate=0.1, learning_rate=1.0, weight_decay=0.5)
    model = PoseNet(tiny_training.NET)
    groups = make_optimizer(model, recipe).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0)
    encoder = {id(parameter) for parameter in model.encoder.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["peak"] == pytest.approx(0.1 if id(parameter) in encoder else 1.0)


def test_ema_averages_weights_and_copies_counters() -> None:
    averaged, model = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.constant_(model.weight, 3.0)
    assert model.num_batches_tracked is not None
    model.num_batches_tracked.fill_(7)
    update_ema(averaged, model, 0.75)
    assert averaged.weight.tolist() == [1.5, 1.5]
    assert averaged.num_batches_tracked is not None
    assert averaged.num_batches_tracked.item() == 7


def test_relative_steps_are_shares_of_each_channel(tmp_path: Path) -> None:
    recipe = tiny_recipe(relative_rate=True, learning_rate=0.01, weight_decay=0.0)
    model = PoseNet(tiny_training.NET)
    weight = model.to_heatmaps.weight
    with torch.no_grad():
        weight.copy_(torch.linspace(1e-2, 1e2, len(weight))[:, None, None, None] * weight.sign())
    before = weight.detach().clone()
    optimizer = make_optimizer(model, recipe)
    weight.grad = torch.rand_like(weight) + 0.1
    optimizer.step()
    share = (before - weight).detach() / before.abs()
    assert torch.allclose(share, torch.full_like(share, 0.01), rtol=1e-3)
    # A resumed run goes on with the same magnitudes.
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, pack_training(model, model, optimizer), {"step": "1"})
    resumed = PoseNet(tiny_training.NET)
    again = make_optimizer(resumed, recipe)
    unpack_training(load_checkpoint(path), resumed, resumed, again, steps=9, path=path)
    resumed.to_heatmaps.weight.grad = weight.grad.clone()
    optimizer.step()
    again.step()
    assert torch.equal(weight, resumed.to_heatmaps.weight)


def test_frozen_stages_of_the_high_resolution_network_get_no_gradient() -> None:
    model = HighResolutionNet(HR)
    make_optimizer(model, tiny_recipe(frozen_stages=2))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"stem", "starts", "stages"}
    assert {name.split(".")[1] for name in frozen if name.startswith("stages")} == {"0"}
    with pytest.raises(ValueError, match="frozen_stages is 4; expected 0 to 3"):
        make_optimizer(model, tiny_recipe(frozen_stages=4))


def test_frozen_stages_of_the_pyramid_detector_get_no_gradient() -> None:
    model = PyramidDetector(PYRAMID)
    make_optimizer(model, tiny_recipe(frozen_stages=2))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in frozen} == {"trunk.first", "trunk.stages"}
    assert {name.split(".")[2] for name in frozen if "stages" in name} == {"0", "1"}
    with pytest.raises(ValueError, match="frozen_stages is 9; expected 0 to 5"):
        make_optimizer(model, tiny_recipe(frozen_stages=9))
