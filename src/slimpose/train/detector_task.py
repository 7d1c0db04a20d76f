"""Training the person detector: quality focal loss on scores, GIoU on boxes; AP of person boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from slimpose.arrays import Crops, Size
from slimpose.data.detector_batches import (
    DetectorBatch,
    DetectorBatches,
    load_images,
    load_unlabeled,
)
from slimpose.data.order import SampleOrder
from slimpose.evaluate.detector import box_ap, canvas_detector, detected_boxes
from slimpose.network.build import build
from slimpose.network.cells import Cells
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.pyramid_detector import PyramidDetector
from slimpose.train.box_distillation import BoxTeacher, pseudo_labels
from slimpose.train.box_targets import assign_cells
from slimpose.train.processes import WHOLE_BATCH, Shard, all_gather, all_reduce_mean, local_items
from slimpose.train.recipe import Recipe
from slimpose.train.task import TrainingData, check_distillation, to_device

_BOX_WEIGHT = 2.0


def quality_focal_loss(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the focal loss of scores (n, cells) against targets 0..1, per unit of the targets.

    Cells where ``mask`` is 0 are left out.

    Source:
        Li et al., "Generalized Focal Loss", NeurIPS 2020, equation 6 (quality focal loss, beta 2).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    losses = (targets - torch.sigmoid(logits)) ** 2 * entropy * mask
    return losses.sum() / all_reduce_mean(targets.sum()).clamp_min(1)


def giou_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of 1 - generalized IoU of boxes (n, cells, 4), weighted by (n, cells).

    Source:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    is_counted = weights > 0
    total = all_reduce_mean(weights[is_counted].sum()).clamp_min(1)
    if not is_counted.any():
        return predicted.sum() * 0
    losses = generalized_box_iou_loss(predicted[is_counted], target[is_counted])
    return (losses * weights[is_counted]).sum() / total


class DetectorTask:
    """Trains a person detector on whole images; see ``Task``.

    ``unlabeled`` is a folder of further images, for the teacher to label. ``on_progress`` is called
    with the number of images read, and of all.

    Raises:
        ValueError: If there is a teacher and the recipe does not distill, or the reverse; if there
            are unlabeled images and no teacher; if the validation set has no person.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        *,
        unlabeled: Path | None = None,
        teacher: BoxTeacher | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        check_distillation(recipe, has_teacher=teacher is not None)
        if unlabeled is not None and teacher is None:
            raise ValueError(f"unlabeled images ({unlabeled}) need a teacher")
        net = recipe.net
        if net.task != "detect":
            raise ValueError(f"the network of recipe {recipe.name} is not a person detector")
        if not any(data.val.people_by_image().values()):
            raise ValueError(
                f"{data.val.path}: no person has a box; expected people to measure AP on"
            )
        data.val.check_images(data.val_images)
        self._recipe, self._teacher = recipe, teacher
        self._val, self._val_images = data.val, data.val_images
        self._batches = _read_batches(recipe, data, unlabeled, on_progress)
        model = build(net)
        assert isinstance(model, (DetectorNet, PyramidDetector))
        self._cells_of = model.cells
        self.model: nn.Module = model

    def batch_at(self, step: int, part: Shard = WHOLE_BATCH) -> DetectorBatch:
        """Return the batch of a step, or a part of it."""
        recipe = self._recipe
        phase = recipe.phase_at(step)
        augmentation = recipe.augmentation.scaled(phase.augmentation)
        return self._batches.batch(*part.span(step, recipe.batch), phase.size, augmentation)

    def images_of(self, batch: DetectorBatch) -> Crops:
        """Return a batch's images."""
        return batch.images

    def loss(self, model: nn.Module, batch: DetectorBatch) -> Tensor:
        """Return the loss against labels and teacher."""
        logits, boxes = model(to_device(batch.images, model))
        cells = self._cells_of(Size(*batch.images.shape[1:3]), logits.device)
        mask = self._at_cells(to_device(batch.label_mask, model), cells)
        of_labels = self._box_loss(logits, boxes, batch.boxes, None, mask, cells)
        if self._teacher is None:
            return of_labels
        predictions = zip(*self._teacher.detect(batch.images), strict=True)
        labels = [pseudo_labels(*prediction) for prediction in predictions]
        people, confidences = map(list, zip(*labels, strict=True))
        everywhere = torch.ones_like(mask)
        of_teacher = self._box_loss(logits, boxes, people, confidences, everywhere, cells)
        share = self._recipe.distillation_weight
        return (1 - share) * of_labels + share * of_teacher

    def _box_loss(
        self,
        logits: Tensor,
        boxes: Tensor,
        people: list[np.ndarray],
        confidences: list[np.ndarray] | None,
        mask: Tensor,
        cells: Cells,
    ) -> Tensor:
        """Return the loss of scores and boxes against people; cells of people ignore the mask."""
        scores, target = assign_cells(logits, boxes, people, confidences, cells=cells)
        of_scores = quality_focal_loss(logits, scores, torch.where(scores > 0, 1, mask))
        return of_scores + _BOX_WEIGHT * giou_loss(boxes, target, scores)

    def _at_cells(self, mask: Tensor, cells: Cells) -> Tensor:
        """Return a mask (n, h, w) of the finest map's cells as one of all cells (n, cells)."""
        columns, rows = (cells.centers / self._recipe.net.stride).long().unbind(1)
        return mask[:, rows.clamp_max(mask.shape[1] - 1), columns.clamp_max(mask.shape[2] - 1)]

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        """Return the AP of person boxes at a step's input size."""
        assert isinstance(model, (DetectorNet, PyramidDetector))
        decoder = BoxDecoder(model)

        @torch.inference_mode()
        def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
            boxes, scores = decoder(to_device(images, model))
            return boxes.cpu().numpy(), scores.cpu().numpy()

        boxes = detected_boxes(
            self._val,
            self._val_images,
            canvas_detector(
                detect, canvas=self._recipe.phase_at(step).size, fit=self._recipe.net.fit
            ),
            image_ids=local_items(list(self._val.images)),
        )
        return box_ap(self._val, dict(all_gather(list(boxes.items()))))


def _read_batches(
    recipe: Recipe,
    data: TrainingData,
    unlabeled: Path | None,
    on_progress: Callable[[int, int], None],
) -> DetectorBatches:
    largest_side = int(1.5 * max(max(phase.size) for phase in recipe.phases))
    images = load_images(
        data.train, data.train_images, largest_side=largest_side, on_progress=on_progress
    )
    if unlabeled is not None:
        images += load_unlabeled(unlabeled, largest_side=largest_side, on_progress=on_progress)
    repeats = np.array([recipe.source_repeats.get(image.source, 1.0) for image in images])
    return DetectorBatches(
        images=images,
        order=SampleOrder(repeats, seed=recipe.seed),
        stride=recipe.net.stride,
        fit=recipe.net.fit,
        seed=recipe.seed,
    )
