"""Training a pose network: squared error of heatmaps to labels and teacher; AP of keypoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps
from slimpose.data.order import SampleOrder
from slimpose.data.people import load_people
from slimpose.data.pose_batches import PoseBatch, PoseBatches
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import pose_ap, pose_records, predict_from_heatmaps
from slimpose.geometry import CellAlignment
from slimpose.messages import quoted
from slimpose.network.build import build
from slimpose.train.distillation import Teacher, cached_teacher
from slimpose.train.feature_distillation import compile_features, feature_loss, prepare_student
from slimpose.train.inference import Compiled
from slimpose.train.processes import WHOLE_BATCH, Shard, all_gather, all_reduce_mean, local_items
from slimpose.train.recipe import Recipe
from slimpose.train.task import TrainingData, check_distillation, to_device


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, *, sigma_px: float) -> Tensor:
    """Return the weighted squared error per joint in units of a target's energy: zero maps cost 1.

    Maps are (n, J, h, w), weights (n, J), 0 for a joint without a label; ``sigma_px`` is the
    target's standard deviation in cells.
    """
    error = ((predicted - target) ** 2).sum(dim=(2, 3)) / (math.pi * sigma_px**2)
    return (error * weights).sum() / all_reduce_mean(weights.sum()).clamp_min(1)


def heatmap_function(model: nn.Module) -> Callable[[Crops], Heatmaps]:
    """Return the model as a NumPy function of uint8 crops."""

    @torch.inference_mode()
    def predict(crops: Crops) -> Heatmaps:
        return model(to_device(crops, model)).float().cpu().numpy()

    return predict


class PoseTask:
    """Trains a pose network on crops of single people; see ``Task``.

    Only a teacher that runs on every crop is kept in memory; of a cached one only the peaks are,
    and in the file ``cache``. ``alignment`` is where the heatmaps' cells lay when the weights to
    start from were trained. ``on_progress`` is called with the number of images read (or people
    labeled), and of all.

    Raises:
        ValueError: If network or teacher have other joints than the data, or no person of the
            validation set has any; if images are mirrored and a joint's name has a side and no
            partner; if there is a teacher and the recipe does not distill, or the reverse; if the
            teacher's heatmaps have another stride; if features are to be distilled and the teacher
            has another head or other deconvolutions.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        *,
        teacher: Teacher | None = None,
        alignment: CellAlignment = "centers",
        cache: Path | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        _check_teacher(recipe, data, teacher)
        _check_joints(recipe, data)
        if recipe.augmentation.flip:
            data.train.skeleton.check_mirroring()
        self._val_boxes = ground_truth_boxes(data.val)
        if not self._val_boxes:
            raise ValueError(
                f"{data.val.path}: no person has a labeled joint; expected people to measure AP on"
            )
        data.val.check_images(data.val_images)
        self._recipe = recipe
        self._val, self._val_images = data.val, data.val_images
        self._batches = _read_batches(recipe, data, teacher, cache, on_progress)
        self._online_teacher: Callable[[Crops], Heatmaps] | None = None
        if teacher is not None and _is_online(recipe):
            self._online_teacher = teacher.predict
            if recipe.mirrored_teacher:
                self._online_teacher = heatmap.flip_averaged(teacher.predict, data.train.skeleton)
        self.model = build(recipe.net, alignment=alignment)
        self._teacher_features: Compiled | None = None
        if recipe.feature_distillation_weight and teacher is not None and teacher.net is not None:
            prepare_student(teacher.net, self.model)
            self._teacher_features = compile_features(teacher.net)

    def batch_at(self, step: int, part: Shard = WHOLE_BATCH) -> PoseBatch:
        """Return the batch of a step, or a part of it."""
        recipe = self._recipe
        phase = recipe.phase_at(step)
        augmentation = recipe.augmentation.scaled(phase.augmentation)
        runs_teacher = self._online_teacher is not None and not phase.cached_teacher
        if not runs_teacher or not recipe.distill_unlabeled:
            augmentation = dataclasses.replace(augmentation, mixup=0.0)  # it has no labels
        return self._batches.batch(
            *part.span(step, recipe.batch),
            phase.size,
            augmentation,
            with_cached_teacher=phase.cached_teacher,
            sharp_size=None if phase.cached_teacher else phase.teacher_size,
        )

    def images_of(self, batch: PoseBatch) -> Crops:
        """Return a batch's crops."""
        return batch.crops

    def loss(self, model: nn.Module, batch: PoseBatch) -> Tensor:
        """Return the loss against labels and teacher: of heatmaps, and of features if wanted."""
        crops = to_device(batch.crops, model)
        teacher_heatmaps = batch.teacher_heatmaps
        if self._teacher_features is None:
            if teacher_heatmaps is None and self._online_teacher is not None:
                teacher_heatmaps = self._online_teacher(batch.sharp_crops)
            return self._heatmap_loss(model(crops), batch, teacher_heatmaps)
        predicted, *features = model(crops, with_maps=True)
        online_heatmaps, *target = self._teacher_features(batch.sharp_crops)
        if teacher_heatmaps is None:
            teacher_heatmaps = online_heatmaps
        of_heatmaps = self._heatmap_loss(predicted, batch, teacher_heatmaps)
        of_features = feature_loss(features, [to_device(array, model) for array in target])
        share = self._recipe.feature_distillation_weight
        return share * of_features + (1 - share) * of_heatmaps

    def _heatmap_loss(
        self, predicted: Tensor, batch: PoseBatch, teacher_heatmaps: Heatmaps | None
    ) -> Tensor:
        """Return the loss of heatmaps against the labels and, if there are any, the teacher's."""
        recipe = self._recipe
        weights = torch.from_numpy(batch.weights).to(predicted.device)
        labels = torch.from_numpy(batch.heatmaps).to(predicted.device)
        sigma_px = recipe.sigma_share * predicted.shape[2]
        of_labels = heatmap_loss(predicted, labels, weights, sigma_px=sigma_px)
        if teacher_heatmaps is None:
            return of_labels
        is_distilled = torch.ones_like(weights) if recipe.distill_unlabeled else weights > 0
        weights = is_distilled.to(weights.dtype)
        target = torch.from_numpy(teacher_heatmaps).to(predicted.device)
        if target.shape != predicted.shape:
            target = F.interpolate(target, predicted.shape[2:], mode="bilinear", antialias=True)
        of_teacher = heatmap_loss(predicted, target, weights, sigma_px=sigma_px)
        share = recipe.distillation_weight
        return (1 - share) * of_labels + share * of_teacher

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        """Return AP and AR with ground-truth boxes at a step's input size."""
        predict = predict_from_heatmaps(
            heatmap_function(model),
            self._val.skeleton,
            stride=self._recipe.net.stride,
            flip=False,
        )
        boxes = dict(local_items(list(self._val_boxes.items())))
        size = self._recipe.phase_at(step).size
        records = pose_records(self._val, self._val_images, boxes, predict, crop_size=size)
        return pose_ap(self._val, all_gather(records))


def _is_online(recipe: Recipe) -> bool:
    """Return whether the teacher runs during training."""
    return not all(phase.cached_teacher for phase in recipe.phases)


def _check_teacher(recipe: Recipe, data: TrainingData, teacher: Teacher | None) -> None:
    check_distillation(recipe, has_teacher=teacher is not None)
    if recipe.feature_distillation_weight and (teacher is None or teacher.net is None):
        raise ValueError(
            f"recipe {recipe.name} distills its teacher's features; got"
            f" {teacher.name if teacher else 'no teacher'}; expected weights (.safetensors) of a"
            " network of this family"
        )
    if teacher is None:
        return
    if not teacher.skeleton.has_same_joints(data.train.skeleton):
        raise ValueError(
            f"the teacher {teacher.name} finds {len(teacher.skeleton.joints)} keypoints of"
            f" {quoted(teacher.skeleton.name)}; {data.train.path} has"
            f" {quoted(data.train.skeleton.joints)}; expected a teacher with the same ones: leave"
            " out --teacher (--start can use weights of other keypoints), or first train a larger"
            " network on this data (slimpose train own-teacher) and pass its best.safetensors"
        )
    if _is_online(recipe) and teacher.stride != recipe.net.stride:
        raise ValueError(
            f"the teacher's heatmaps have cells of {teacher.stride} px, those of {recipe.name}'s"
            f" network {recipe.net.stride}; expected the same, or a cached teacher"
            " (--cached-teacher)"
        )


def _check_joints(recipe: Recipe, data: TrainingData) -> None:
    joints = data.train.skeleton.joints
    if recipe.net.joints != len(joints):
        raise ValueError(
            f"{data.train.path} has {len(joints)} joints; the network has {recipe.net.joints}"
            " heatmaps"
        )
    if not data.val.skeleton.has_same_joints(data.train.skeleton):
        raise ValueError(
            f"{data.val.path} has the joints {data.val.skeleton.joints}; {data.train.path} has"
            f" {joints}"
        )


def _read_batches(
    recipe: Recipe,
    data: TrainingData,
    teacher: Teacher | None,
    cache: Path | None,
    on_progress: Callable[[int, int], None],
) -> PoseBatches:
    """Read the people to train on and, for a cached teacher, its peaks."""
    sizes = [size for phase in recipe.phases for size in (phase.size, phase.teacher_size) if size]
    size = max(sizes, key=lambda size: size.height)
    people = load_people(
        data.train,
        data.train_images,
        crop_size=size,
        teacher=recipe.teacher_labels,
        on_progress=on_progress,
    )
    repeats = [recipe.source_repeats.get(source, 1.0) for source in people.sources]
    confidence = [recipe.keypoint_confidence.get(source, 1.0) for source in people.sources]
    peaks = None
    if teacher is not None and any(phase.cached_teacher for phase in recipe.phases):
        peaks = cached_teacher(people, teacher, size=size, cache=cache, on_progress=on_progress)
    return PoseBatches(
        people=people,
        order=SampleOrder(np.array(repeats), seed=recipe.seed),
        stride=recipe.net.stride,
        sigma_share=recipe.sigma_share,
        seed=recipe.seed,
        keypoint_confidence=np.array(confidence, np.float32),
        cached_peaks=peaks,
    )
