"""Training a pose net: weighted MSE on heatmaps, AP with ground-truth boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.arrays import Crops, Heatmaps
from slimpose.data.order import Order
from slimpose.data.people import load_people
from slimpose.data.pose_batches import PoseBatch, PoseBatches
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import by_heatmaps, pose_ap, pose_records
from slimpose.formats import coco
from slimpose.network.pose_net import PoseNet
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, *, sigma_px: float) -> Tensor:
    """Return the weighted squared error a joint, in units of a target's own energy: all-zero maps give 1.

    Args:
        predicted: (n, J, h, w).
        target: (n, J, h, w).
        weights: (n, J), 0 where a joint is not labelled.
        sigma_px: The target's standard deviation in cells.
    """
    error = ((predicted - target) ** 2).sum(dim=(2, 3)) / (math.pi * sigma_px**2)
    return (error * weights).sum() / weights.sum().clamp_min(1)


def heatmaps_with(model: nn.Module) -> Callable[[Crops], Heatmaps]:
    """Return the model as a NumPy function of uint8 crops."""

    @torch.inference_mode()
    def heatmaps_of(crops: Crops) -> Heatmaps:
        return model(torch.from_numpy(crops)).numpy()

    return heatmaps_of


def pose_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Task:
    """Read the data and return the task.

    Raises:
        ValueError: If the net has another number of joints than the data.
    """
    joints = len(train.skeleton.joints)
    if recipe.net.joints != joints:
        raise ValueError(f"{train.path} has {joints} joints; the net gives {recipe.net.joints} heatmaps")
    if val.skeleton.joints != train.skeleton.joints:
        raise ValueError(f"{val.path} has the joints {val.skeleton.joints}; {train.path} has {train.skeleton.joints}")
    val.check_images(val_images)
    largest = max((phase.size for phase in recipe.phases), key=lambda size: size.height)
    people = load_people(train, train_images, crop_size=largest, teacher=recipe.teacher_labels, on_progress=on_progress)
    repeats = np.array([recipe.source_repeats.get(source, 1.0) for source in people.sources])
    stride = recipe.net.stride
    batches = PoseBatches(
        people=people,
        order=Order(repeats, seed=recipe.seed),
        stride=stride,
        sigma_share=recipe.sigma_share,
        seed=recipe.seed,
    )
    boxes = ground_truth_boxes(val)

    def batch_at(step: int) -> PoseBatch:
        phase = recipe.phase_at(step)
        return batches.batch(
            step * recipe.batch, recipe.batch, phase.size, recipe.augmentation.weaker(phase.augmentation)
        )

    def loss_of(model: nn.Module, batch: PoseBatch) -> Tensor:
        predicted = model(torch.from_numpy(batch.crops))
        sigma_px = recipe.sigma_share * predicted.shape[2]
        return heatmap_loss(
            predicted, torch.from_numpy(batch.heatmaps), torch.from_numpy(batch.weights), sigma_px=sigma_px
        )

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        predict = by_heatmaps(heatmaps_with(model), val.skeleton, stride=stride, flip=False)
        records = pose_records(val, val_images, boxes, predict, crop_size=recipe.phase_at(step).size)
        return pose_ap(val, records)

    return Task(
        model=PoseNet(recipe.net),
        batch_at=batch_at,
        pictures_of=lambda batch: batch.crops,
        loss_of=loss_of,
        evaluate=evaluate,
    )
