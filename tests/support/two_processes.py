"""A training run for one process or for several: FOLDER OUT [STALL_AT | resume]."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from timm.utils.model import freeze_batch_norm_2d
from torch import nn

from slimpose.train.devices import Devices, open_devices
from slimpose.train.feature_distillation import feature_loss
from slimpose.train.processes import all_gather, broadcast_buffers, local_items, rank
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import run
from tiny_training import SIZE, tiny_recipe, tiny_task

IMAGES = list(range(7))


def loss_of_features(first: int, last: int) -> float:
    """Return the feature loss of some of eight samples, of which the later ones vary more."""
    features = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    features *= torch.arange(1, 9).reshape(8, 1, 1, 1)
    return feature_loss([torch.zeros(last - first, 2, 4, 4)], [features[first:last]]).item()


def recipe_of_20_steps() -> Recipe:
    """Return a run with eight samples per step, so four per process; evaluated after 10 and 20.

    At the usual learning rate the first steps of so small a network enlarge a difference in the
    last digit tenfold per step.
    """
    phases = (Phase(size=SIZE, samples=8 * 20),)
    return tiny_recipe(batch=8, phases=phases, learning_rate=3e-4, evaluations=2)


def train(
    folder: Path, out: Path, devices: Devices, *, stall_at: int = -1, resume: bool = False
) -> None:
    """Run it, in double precision and with frozen norms; stall at a step, to be killed.

    In single precision one process and two differ by rounding, which Adam, dividing each gradient
    by its own size, turns into different small steps of the weights that hardly matter. Batch norms
    of several processes share their statistics on GPUs only.
    """
    recipe = recipe_of_20_steps()
    task = tiny_task(recipe, folder)
    freeze_batch_norm_2d(task.model)
    task.model.double()
    for progress in run(task, recipe, out, resume=resume, notes={}, devices=devices):
        if progress.step.number == stall_at:
            print("stalled", flush=True)
            time.sleep(600)


def buffer_of_first_process() -> float:
    """Return a norm's running mean, initially the process's number, after a broadcast."""
    norm = nn.BatchNorm2d(1)
    nn.init.constant_(norm.get_buffer("running_mean"), 5.0 + rank())
    broadcast_buffers(norm)
    return norm.get_buffer("running_mean").item()


if __name__ == "__main__":
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    mode = sys.argv[3] if len(sys.argv) > 3 else "-1"
    here = open_devices()
    resume = mode == "resume"
    train(folder, out, here, stall_at=-1 if resume else int(mode), resume=resume)
    results = {
        "local": local_items(IMAGES),
        "all": all_gather(local_items(IMAGES)),
        "feature_loss": loss_of_features(4 * rank(), 4 * rank() + 4),
        "buffer": buffer_of_first_process(),
    }
    (out.parent / f"results-{rank()}.json").write_text(json.dumps(results))
    here.accelerator.end_training()
