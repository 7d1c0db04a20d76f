"""Networks and a training run small enough for a test.

As a program (FOLDER OUT STALL_AT) it is a run that a test can kill.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from slimpose.arrays import Size
from slimpose.formats import coco
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from slimpose.network.weights import save_checkpoint
from slimpose.skeleton import COCO17
from slimpose.train.distillation import Teacher
from slimpose.train.pose_task import PoseTask
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import run
from slimpose.train.task import TrainingData

SIZE = Size(64, 64)
NET = NetSpec(
    encoder="mobilenetv2_100",
    width_multiplier=0.35,
    head_width=16,
    deconv_widths=(16, 16, 16),
    size=SIZE,
)
SHALLOW = NetSpec(
    encoder="mobilenetv2_100",
    depth_multiplier=0.3,
    head_width=8,
    deconv_widths=(8, 8, 8),
    size=SIZE,
)
"""For export, whose time depends on the number of layers."""


def write_people(folder: Path) -> Path:
    """Draw six people as colored dots, each in an image of its own, and write their COCO file."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(6):
        image = rng.integers(60, 90, (90, 80, 3)).astype(np.uint8)
        joints = rng.uniform((15, 15), (65, 75), (17, 2))
        for joint, (x, y) in enumerate(joints):
            level = int(255 - 8 * joint)
            cv2.circle(image, (round(x), round(y)), 3, (level, 255 - level, 40 + 10 * joint), -1)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        images.append({"id": i, "file_name": f"{i}.png", "height": 90, "width": 80})
        annotations.append(
            {
                "id": i + 1,
                "image_id": i,
                "category_id": 1,
                "bbox": [10, 10, 60, 70],
                "area": 4200,
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": np.concatenate([joints, np.full((17, 1), 2)], axis=1).ravel().tolist(),
            }
        )
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}]
    path = folder / "people.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


def save_net(path: Path, net: PoseNet) -> Path:
    """Write weights of a network like ``NET`` as a run does."""
    save_checkpoint(path, net.state_dict(), {"net": NET.to_json(), "skeleton": COCO17.to_json()})
    return path


def training_data(folder: Path, *, keypoints: bool = True) -> TrainingData:
    """Return the people of ``write_people``, to train and to validate on."""
    people = coco.read(folder / "people.json", keypoints=keypoints)
    return TrainingData(train=people, train_images=folder, val=people, val_images=folder)


def tiny_recipe(**changes: Any) -> Recipe:
    """Return a run of twelve steps, evaluated (and so saved) after every fourth, with changes."""
    phases = (Phase(size=Size(32, 32), samples=24), Phase(size=SIZE, samples=24))
    recipe = Recipe(name="tiny", task="pose", net=NET, phases=phases, batch=4)
    return dataclasses.replace(
        recipe, **{"ema": 0.5, "sigma_share": 1 / 8, "evaluations": 3} | changes
    )


def tiny_task(recipe: Recipe, folder: Path, teacher: Teacher | None = None) -> PoseTask:
    """Build the task the same way every time, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    return PoseTask(recipe, training_data(folder), teacher=teacher)


def _stall(folder: Path, out: Path, *, stall_at: int) -> None:
    recipe = tiny_recipe()
    for progress in run(tiny_task(recipe, folder), recipe, out, resume=False, notes={}):
        if progress.step.number == stall_at:
            print("stalled", flush=True)
            time.sleep(600)


if __name__ == "__main__":
    _stall(Path(sys.argv[1]), Path(sys.argv[2]), stall_at=int(sys.argv[3]))
