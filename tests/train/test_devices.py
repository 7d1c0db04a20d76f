from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiny_training
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint
from slimpose.train.devices import Devices, open_devices, synchronize_norms
from slimpose.train.loop import make_optimizer, train
from slimpose.train.pose_task import PoseTask
from slimpose.train.processes import WHOLE_BATCH, Shard
from slimpose.train.run import BEST, METRICS, run
from tiny_training import tiny_recipe, tiny_task
from two_processes import recipe_of_20_steps

pytestmark = pytest.mark.usefixtures("one_thread")


def test_default_is_one_process_in_fp32() -> None:
    devices = open_devices()
    assert isinstance(devices, Devices)
    assert (devices.part(0), devices.is_main) == (WHOLE_BATCH, True)
    assert devices.accelerator.mixed_precision == "no"


def test_parts_of_a_batch_are_the_whole_batch(people_folder: Path) -> None:
    task = tiny_task(recipe_of_20_steps(), people_folder)
    whole = task.batch_at(3)
    parts = [task.batch_at(3, Shard(number, 4)) for number in range(4)]
    for name in ("crops", "heatmaps", "weights"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name)
        )
    assert WHOLE_BATCH.span(3, 8) == (24, 8)
    assert Shard(2, 4).span(3, 8) == (28, 2)


def test_indivisible_batch_is_rejected(people_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    devices = dataclasses.replace(open_devices(), accumulate=3)
    message = "batch 4 for 1 processes and 3 parts each; expected a multiple of 3"
    task = tiny_task(recipe, people_folder)
    with pytest.raises(ValueError, match=message):
        next(run(task, recipe, tmp_path / "run", resume=False, notes={}, devices=devices))


def all_labeled(task: PoseTask, part: Shard) -> Any:
    batch = task.batch_at(0, part)
    return dataclasses.replace(batch, weights=np.ones_like(batch.weights))


def test_accumulated_gradients_are_those_of_the_whole_batch(people_folder: Path) -> None:
    # Batch norm uses each part's statistics; with frozen ones, and as many labels in each part,
    # parts do not differ from the whole.
    def first_step(accumulate: int) -> tuple[float, list[Any]]:
        recipe = recipe_of_20_steps()
        one_step = dataclasses.replace(recipe.phases[0], samples=8)
        recipe = dataclasses.replace(recipe, phases=(one_step,))
        task = tiny_task(recipe, people_folder)
        task.model.double()
        devices = dataclasses.replace(open_devices(), accumulate=accumulate)
        averaged = tiny_task(recipe, people_folder).model.double()
        optimizer = make_optimizer(task.model, recipe)
        steps = train(
            model=task.model,
            averaged=averaged,
            optimizer=optimizer,
            recipe=recipe,
            batches=(all_labeled(task, devices.part(part)) for part in range(accumulate)),
            loss=lambda model, batch: task.loss(model.eval(), batch),
            devices=devices,
        )
        (step,) = list(steps)
        return step.loss, [parameter.grad for parameter in task.model.parameters()]

    loss, expected = first_step(1)
    loss_in_parts, gradients = first_step(4)
    assert loss_in_parts == pytest.approx(loss, rel=1e-9)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-6, atol=1e-12)


def test_bf16_run_learns(people_folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, dataclasses; from pathlib import Path; from tiny_training import *;"
        "from slimpose.train.devices import open_devices;"
        "folder, out = map(Path, sys.argv[1:]); recipe = tiny_recipe();"
        "[None for _ in run(tiny_task(recipe, folder), recipe, out, resume=False, notes={},"
        " devices=open_devices(precision='bf16'))]"
    )
    path = [str(Path(tiny_training.__file__).parent), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-c", program, str(people_folder), str(tmp_path / "run")]
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )
    lines = (tmp_path / "run" / METRICS).read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < 0.95 * losses[0]
    weights = load_checkpoint(tmp_path / "run" / BEST).tensors
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights.values())


@pytest.mark.parametrize(("device", "kind"), [("cuda", nn.SyncBatchNorm), ("cpu", nn.BatchNorm2d)])
def test_norms_are_synchronized_on_gpus(device: str, kind: type[nn.Module]) -> None:
    model = PoseNet(tiny_training.NET)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    synchronize_norms(model, torch.device(device))
    norms = [
        module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    assert len(norms) > 40
    assert all(isinstance(norm, kind) for norm in norms)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
