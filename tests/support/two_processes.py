"""A training run for one process or for several that torchrun starts: FOLDER OUT [STALL_AT | resume]."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import torch

from slimpose.train.devices import Devices, open_devices
from slimpose.train.feature_distillation import feature_loss
from slimpose.train.processes import gathered, local_items, rank
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import run
from tiny_training import SIZE, tiny_recipe, tiny_task

IMAGES = list(range(7))


def imitated(first: int, last: int) -> float:
    """Return the loss of some of eight samples' maps, of which the second half vary more."""
    drawn = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn *= torch.arange(1, 9).reshape(8, 1, 1, 1)
    return feature_loss([torch.zeros(last - first, 2, 4, 4)], [drawn[first:last]]).item()


def recipe_of_20_steps() -> Recipe:
    """Eight samples a step, so four a process; evaluated (and so saved) behind steps 10 and 20.

    At the usual rate so small a net in its first steps enlarges a difference in the last digit
    tenfold a step.
    """
    phases = (Phase(size=SIZE, samples=8 * 20),)
    return dataclasses.replace(
        tiny_recipe(), batch=8, phases=phases, learning_rate=3e-4, evaluations=2
    )


def train(
    folder: Path, out: Path, devices: Devices, *, stall_at: int = -1, resume: bool = False
) -> None:
    """Run it, in double precision; stall for the killer at a step.

    In single precision one process and two differ by rounding, which Adam, dividing each gradient
    by its own size, turns into different small steps of the weights that hardly matter.
    """
    recipe = recipe_of_20_steps()
    task = tiny_task(recipe, folder)
    task.model.double()
    for progress in run(task, recipe, out, resume=resume, notes={}, devices=devices):
        if progress.step.number == stall_at:
            print("stalled", flush=True)
            time.sleep(600)


if __name__ == "__main__":
    folder, out, how = (
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        sys.argv[3] if len(sys.argv) > 3 else "-1",
    )
    here = open_devices()
    train(folder, out, here, stall_at=-1 if how == "resume" else int(how), resume=how == "resume")
    half = imitated(4 * rank(), 4 * rank() + 4)
    shares = {"mine": local_items(IMAGES), "all": gathered(local_items(IMAGES)), "imitated": half}
    (out.parent / f"shares-{rank()}.json").write_text(json.dumps(shares))
    here.accelerator.end_training()
