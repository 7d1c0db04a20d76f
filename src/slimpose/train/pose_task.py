"""Training a pose net: weighted MSE on heatmaps, the labels' and a teacher's; AP with ground-truth boxes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps
from slimpose.data.order import Order
from slimpose.data.people import load_people
from slimpose.data.pose_batches import PoseBatch, PoseBatches
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import by_heatmaps, pose_ap, pose_records
from slimpose.formats import coco
from slimpose.network.alignment import Alignment
from slimpose.network.build import build
from slimpose.train.distillation import Teacher, taught_once
from slimpose.train.feature_distillation import hand_over, imitation_loss, maps_with
from slimpose.train.processes import WHOLE, Part, gathered, mean_of_all, my_share
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task, placed


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, *, sigma_px: float) -> Tensor:
    """Return the weighted squared error a joint, in units of a target's own energy: all-zero maps give 1.

    Args:
        predicted: (n, J, h, w).
        target: (n, J, h, w).
        weights: (n, J), 0 where a joint is not labelled.
        sigma_px: The target's standard deviation in cells.
    """
    error = ((predicted - target) ** 2).sum(dim=(2, 3)) / (math.pi * sigma_px**2)
    return (error * weights).sum() / mean_of_all(weights.sum()).clamp_min(1)


def heatmaps_with(model: nn.Module) -> Callable[[Crops], Heatmaps]:
    """Return the model as a NumPy function of uint8 crops."""

    @torch.inference_mode()
    def heatmaps_of(crops: Crops) -> Heatmaps:
        return model(placed(crops, model)).float().cpu().numpy()

    return heatmaps_of


def pose_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    teacher: Teacher | None = None,
    alignment: Alignment = "centres",
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Task:
    """Read the data and return the task.

    ``cache`` keeps what a teacher saw who looks only once; nothing else of such a teacher is kept.
    ``alignment`` is where the heatmaps' cells lay when the weights that are begun from were
    trained.

    Raises:
        ValueError: If the net or the teacher has other joints than the data, or nobody in the
            validation set has any; if the recipe wants a teacher and none is given, or one is given
            in vain; if the teacher's cells are of another size, or its head, or what is behind it,
            is another and it is to be imitated.
    """
    if (teacher is not None) != (recipe.alpha > 0):
        told = "was given" if teacher else "is missing"
        raise ValueError(
            f"a teacher {told}, and the recipe's alpha is {recipe.alpha:g}; expected both or neither"
        )
    if recipe.imitation and (teacher is None or teacher.net is None):
        raise ValueError(
            f"recipe {recipe.name} imitates its teacher; got {teacher.name if teacher else 'no teacher'}; "
            "expected weights (.safetensors) of a net of this family"
        )
    if teacher is not None and teacher.skeleton.joints != train.skeleton.joints:
        raise ValueError(
            f"the teacher's joints are {teacher.skeleton.joints}; {train.path} has {train.skeleton.joints}"
        )
    joints = len(train.skeleton.joints)
    if recipe.net.joints != joints:
        raise ValueError(
            f"{train.path} has {joints} joints; the net gives {recipe.net.joints} heatmaps"
        )
    if val.skeleton.joints != train.skeleton.joints:
        raise ValueError(
            f"{val.path} has the joints {val.skeleton.joints}; {train.path} has {train.skeleton.joints}"
        )
    boxes = ground_truth_boxes(val)
    if not boxes:
        raise ValueError(
            f"{val.path}: nobody has a labelled joint; expected people to measure AP on"
        )
    beside = (
        None if all(phase.taught_once for phase in recipe.phases) else teacher
    )  # looks at the crops in the run
    if beside is not None and beside.stride != recipe.net.stride:
        raise ValueError(
            f"the teacher's heatmaps have cells of {beside.stride} px, {recipe.name}'s net of {recipe.net.stride}; "
            "expected the same, or a teacher that looks once (--taught-once)"
        )
    val.check_images(val_images)
    largest = max((phase.size for phase in recipe.phases), key=lambda size: size.height)
    people = load_people(
        train,
        train_images,
        crop_size=largest,
        teacher=recipe.teacher_labels,
        on_progress=on_progress,
    )
    repeats = np.array([recipe.source_repeats.get(source, 1.0) for source in people.sources])
    stride = recipe.net.stride
    taught = None
    if teacher is not None and any(phase.taught_once for phase in recipe.phases):
        taught = taught_once(people, teacher, size=largest, cache=cache, on_progress=on_progress)
    batches = PoseBatches(
        people=people,
        order=Order(repeats, seed=recipe.seed),
        stride=stride,
        sigma_share=recipe.sigma_share,
        seed=recipe.seed,
        trust=np.array(
            [recipe.label_trust.get(source, 1.0) for source in people.sources], np.float32
        ),
        taught=taught,
    )
    look = None  # a teacher that is done looking need not stay in memory
    if beside is not None:
        look = (
            heatmap.flip_averaged(beside.heatmaps_of, train.skeleton)
            if recipe.mirrored_teacher
            else beside.heatmaps_of
        )
    student = build(recipe.net, alignment=alignment)
    maps_of = None
    if recipe.imitation and teacher is not None and teacher.net is not None:
        hand_over(teacher.net, student)
        maps_of = maps_with(teacher.net)

    def batch_at(step: int, part: Part = WHOLE) -> PoseBatch:
        phase = recipe.phase_at(step)
        how = recipe.augmentation.weaker(phase.augmentation)
        if look is None or phase.taught_once or not recipe.teach_unlabelled:
            how = dataclasses.replace(how, blend=0.0)  # nobody could label it
        return batches.batch(
            *part.span(step, recipe.batch), phase.size, how, taught=phase.taught_once
        )

    def loss_of(model: nn.Module, batch: PoseBatch) -> Tensor:
        crops = placed(batch.crops, model)
        if maps_of is None:
            seen = look(batch.crops) if batch.taught is None and look is not None else batch.taught
            return heatmaps_loss(model, model(crops), batch, seen)
        predicted, *maps = model(crops, with_maps=True)
        seen, *theirs = maps_of(batch.crops)
        of_heatmaps = heatmaps_loss(
            model, predicted, batch, seen if batch.taught is None else batch.taught
        )
        of_maps = imitation_loss(maps, [placed(array, model) for array in theirs])
        return recipe.imitation * of_maps + (1 - recipe.imitation) * of_heatmaps

    def heatmaps_loss(
        model: nn.Module, predicted: Tensor, batch: PoseBatch, seen: Heatmaps | None
    ) -> Tensor:
        """Against the labels and against what the teacher has seen."""
        sigma_px = recipe.sigma_share * predicted.shape[2]
        weights = placed(batch.weights, model)
        loss = heatmap_loss(predicted, placed(batch.heatmaps, model), weights, sigma_px=sigma_px)
        if seen is None:
            return loss
        believed = (
            torch.ones_like(weights) if recipe.teach_unlabelled else (weights > 0).to(weights.dtype)
        )
        distilled = heatmap_loss(predicted, placed(seen, model), believed, sigma_px=sigma_px)
        return (1 - recipe.alpha) * loss + recipe.alpha * distilled

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        predict = by_heatmaps(heatmaps_with(model), val.skeleton, stride=stride, flip=False)
        mine = dict(my_share(list(boxes.items())))
        records = pose_records(val, val_images, mine, predict, crop_size=recipe.phase_at(step).size)
        return pose_ap(val, gathered(records))

    return Task(
        model=student,
        batch_at=batch_at,
        pictures_of=lambda batch: batch.crops,
        loss_of=loss_of,
        evaluate=evaluate,
    )
