from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny_training
from slimpose.network.pose_net import PoseNet
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


def test_relative_rates_are_kept_by_a_checkpoint(tmp_path: Path) -> None:
    recipe = tiny_recipe(relative_rate=True, learning_rate=0.01)
    model = PoseNet(tiny_training.NET)
    with torch.no_grad():
        model.to_heatmaps.weight.fill_(0.5)
        model.to_heatmaps.bias.fill_(2.0)  # pyright: ignore[reportOptionalMemberAccess]
    optimizer = make_optimizer(model, recipe)
    rates = {group["params"][0]: group["peak"] for group in optimizer.param_groups}
    assert rates[model.to_heatmaps.weight] == pytest.approx(0.005)
    assert rates[model.to_heatmaps.bias] == pytest.approx(0.02)
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, pack_training(model, model, optimizer), {"step": "7"})
    resumed = PoseNet(tiny_training.NET)
    again = make_optimizer(resumed, recipe)
    saved = load_checkpoint(path)
    assert unpack_training(saved, resumed, resumed, again, steps=9, path=path) == 7
    assert [group["peak"] for group in again.param_groups] == list(rates.values())


@pytest.mark.parametrize(
    ("name", "peak", "message"),
    [
        ("peak.99", [0.1], "peak.99: the group is '99'; expected an integer 0.."),
        ("peak.0", [float("nan")], "peak.0 is nan; expected a finite number"),
        ("peak.0", [0.1, 0.2], "peak.0 has 2 values; expected one learning rate"),
    ],
)
def test_damaged_rates_are_rejected(
    tmp_path: Path, name: str, peak: list[float], message: str
) -> None:
    model = PoseNet(tiny_training.NET)
    optimizer = make_optimizer(model, tiny_recipe())
    path = tmp_path / "state.safetensors"
    tensors = pack_training(model, model, optimizer) | {name: torch.tensor(peak)}
    save_checkpoint(path, tensors, {"step": "7"})
    with pytest.raises(ValueError, match=message):
        unpack_training(load_checkpoint(path), model, model, optimizer, steps=9, path=path)
