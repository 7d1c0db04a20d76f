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
from slimpose.data.order import SampleOrder
from slimpose.data.people import load_people
from slimpose.data.pose_batches import PoseBatch, PoseBatches
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import pose_ap, pose_records, predict_from_heatmaps
from slimpose.formats import coco
from slimpose.geometry import CellAlignment
from slimpose.network.build import build
from slimpose.train.distillation import Teacher, cached_teacher
from slimpose.train.feature_distillation import copy_decoder, feature_loss, features_with
from slimpose.train.processes import ALL, Shard, gathered, local_items, mean_of_all
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task, to_device


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, *, sigma_px: float) -> Tensor:
    """Return the weighted squared error a joint, in units of a target's own energy: all-zero maps give 1.

    Args:
        predicted: (n, J, h, w).
        target: (n, J, h, w).
        weights: (n, J), 0 where a joint is not labeled.
        sigma_px: The target's standard deviation in cells.
    """
    error = ((predicted - target) ** 2).sum(dim=(2, 3)) / (math.pi * sigma_px**2)
    return (error * weights).sum() / mean_of_all(weights.sum()).clamp_min(1)


def heatmaps_with(model: nn.Module) -> Callable[[Crops], Heatmaps]:
    """Return the model as a NumPy function of uint8 crops."""

    @torch.inference_mode()
    def heatmaps_of(crops: Crops) -> Heatmaps:
        return model(to_device(crops, model)).float().cpu().numpy()

    return heatmaps_of


def pose_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    teacher: Teacher | None = None,
    alignment: CellAlignment = "centers",
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
    if (teacher is not None) != (recipe.distillation_weight > 0):
        told = "was given" if teacher else "is missing"
        raise ValueError(
            f"a teacher {told}, and the recipe's alpha is {recipe.distillation_weight:g}; expected both or neither"
        )
    if recipe.feature_distillation_weight and (teacher is None or teacher.net is None):
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
            f"{val.path}: nobody has a labeled joint; expected people to measure AP on"
        )
    beside = (
        None if all(phase.cached_teacher for phase in recipe.phases) else teacher
    )  # looks at the crops in the run
    if beside is not None and beside.stride != recipe.net.stride:
        raise ValueError(
            f"the teacher's heatmaps have cells of {beside.stride} px, {recipe.name}'s net of {recipe.net.stride}; "
            "expected the same, or a teacher that looks once (--cached-teacher)"
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
    if teacher is not None and any(phase.cached_teacher for phase in recipe.phases):
        taught = cached_teacher(people, teacher, size=largest, cache=cache, on_progress=on_progress)
    batches = PoseBatches(
        people=people,
        order=SampleOrder(repeats, seed=recipe.seed),
        stride=stride,
        sigma_share=recipe.sigma_share,
        seed=recipe.seed,
        keypoint_confidence=np.array(
            [recipe.keypoint_confidence.get(source, 1.0) for source in people.sources], np.float32
        ),
        cached_peaks=taught,
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
    if recipe.feature_distillation_weight and teacher is not None and teacher.net is not None:
        copy_decoder(teacher.net, student)
        maps_of = features_with(teacher.net)

    def batch_at(step: int, part: Shard = ALL) -> PoseBatch:
        phase = recipe.phase_at(step)
        how = recipe.augmentation.scaled(phase.augmentation)
        if look is None or phase.cached_teacher or not recipe.distill_unlabeled:
            how = dataclasses.replace(how, mixup=0.0)  # nobody could label it
        return batches.batch(
            *part.span(step, recipe.batch),
            phase.size,
            how,
            with_cached_teacher=phase.cached_teacher,
        )

    def loss_of(model: nn.Module, batch: PoseBatch) -> Tensor:
        crops = to_device(batch.crops, model)
        if maps_of is None:
            seen = (
                look(batch.crops)
                if batch.teacher_heatmaps is None and look is not None
                else batch.teacher_heatmaps
            )
            return heatmaps_loss(model, model(crops), batch, seen)
        predicted, *maps = model(crops, with_maps=True)
        seen, *theirs = maps_of(batch.crops)
        of_heatmaps = heatmaps_loss(
            model,
            predicted,
            batch,
            seen if batch.teacher_heatmaps is None else batch.teacher_heatmaps,
        )
        of_maps = feature_loss(maps, [to_device(array, model) for array in theirs])
        return (
            recipe.feature_distillation_weight * of_maps
            + (1 - recipe.feature_distillation_weight) * of_heatmaps
        )

    def heatmaps_loss(
        model: nn.Module, predicted: Tensor, batch: PoseBatch, seen: Heatmaps | None
    ) -> Tensor:
        """Against the labels and against what the teacher has seen."""
        sigma_px = recipe.sigma_share * predicted.shape[2]
        weights = to_device(batch.weights, model)
        loss = heatmap_loss(predicted, to_device(batch.heatmaps, model), weights, sigma_px=sigma_px)
        if seen is None:
            return loss
        believed = (
            torch.ones_like(weights)
            if recipe.distill_unlabeled
            else (weights > 0).to(weights.dtype)
        )
        distilled = heatmap_loss(predicted, to_device(seen, model), believed, sigma_px=sigma_px)
        return (1 - recipe.distillation_weight) * loss + recipe.distillation_weight * distilled

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        predict = predict_from_heatmaps(
            heatmaps_with(model), val.skeleton, stride=stride, flip=False
        )
        mine = dict(local_items(list(boxes.items())))
        records = pose_records(val, val_images, mine, predict, crop_size=recipe.phase_at(step).size)
        return pose_ap(val, gathered(records))

    return Task(
        model=student,
        batch_at=batch_at,
        pictures_of=lambda batch: batch.crops,
        loss_of=loss_of,
        evaluate=evaluate,
    )
