"""Training the person detector: quality focal loss on scores, GIoU on boxes, person AP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from slimpose.arrays import Crops
from slimpose.data.order import SampleOrder
from slimpose.data.scenes import DetectorBatch, DetectorBatches, load_images, load_unlabeled
from slimpose.evaluate.detector import box_ap, detected_boxes
from slimpose.formats import coco
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.spec import NetSpec
from slimpose.train.box_distillation import BoxTeacher, pseudo_labels
from slimpose.train.box_targets import assign_cells
from slimpose.train.processes import ALL, Shard, gathered, local_items, mean_of_all
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task, to_device

_BOX_WEIGHT = 2.0


def quality_loss(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Return the focal loss of scores (n, h, w) against targets 0..1, for each unit of the targets.

    Cells of ``counts`` 0 are left out.

    Source:
        Li et al., "Generalized Focal Loss", NeurIPS 2020, equation 6 (quality focal loss, beta 2).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    losses = (targets - torch.sigmoid(logits)) ** 2 * entropy * counts
    return losses.sum() / mean_of_all(targets.sum()).clamp_min(1)


def giou_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of 1 - generalized IoU of boxes (n, 4, h, w), counted by weights (n, h, w).

    Source:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    counted = weights > 0
    total = mean_of_all(weights[counted].sum()).clamp_min(1)
    if not counted.any():
        return predicted.sum() * 0
    losses = generalized_box_iou_loss(
        predicted.permute(0, 2, 3, 1)[counted], target.permute(0, 2, 3, 1)[counted]
    )
    return (losses * weights[counted]).sum() / total


def detector_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    unlabeled: Path | None = None,
    teacher: BoxTeacher | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Task:
    """Read the data, and a folder of pictures without labels for a teacher to label, and return the task.

    Raises:
        ValueError: If the recipe wants a teacher and none is given, or one is given in vain; if
            there is nobody in the validation set.
    """
    if (teacher is not None) != (recipe.distillation_weight > 0):
        told = "was given" if teacher else "is missing"
        raise ValueError(
            f"a teacher {told}, and the recipe's alpha is {recipe.distillation_weight:g}; expected both or neither"
        )
    if unlabeled is not None and teacher is None:
        raise ValueError(f"pictures without labels ({unlabeled}) need a teacher")
    net = recipe.net
    if not isinstance(net, NetSpec):
        raise ValueError(f"recipe {recipe.name} trains {net.baseline}, which is no person detector")
    if not any(val.people_by_image().values()):
        raise ValueError(f"{val.path}: nobody has a box; expected people to measure AP on")
    val.check_images(val_images)
    largest = max(max(phase.size) for phase in recipe.phases)
    scenes = load_images(
        train, train_images, largest_side=int(1.5 * largest), on_progress=on_progress
    )
    if unlabeled is not None:
        scenes += load_unlabeled(
            unlabeled, largest_side=int(1.5 * largest), on_progress=on_progress
        )
    repeats = np.array([recipe.source_repeats.get(scene.source, 1.0) for scene in scenes])
    batches = DetectorBatches(
        images=scenes,
        order=SampleOrder(repeats, seed=recipe.seed),
        stride=recipe.net.stride,
        seed=recipe.seed,
    )

    def batch_at(step: int, part: Shard = ALL) -> DetectorBatch:
        phase = recipe.phase_at(step)
        how = recipe.augmentation.scaled(phase.augmentation)
        return batches.batch(*part.span(step, recipe.batch), phase.size, how)

    def loss_against(
        logits: Tensor,
        boxes: Tensor,
        people: list[np.ndarray],
        sure: list[np.ndarray] | None,
        counts: Tensor,
    ) -> Tensor:
        targets, target_boxes = assign_cells(logits, boxes, people, sure, stride=net.stride)
        found = quality_loss(logits, targets, torch.where(targets > 0, 1, counts))
        return found + _BOX_WEIGHT * giou_loss(boxes, target_boxes, targets)

    def loss_of(model: nn.Module, batch: DetectorBatch) -> Tensor:
        logits, boxes = model(to_device(batch.images, model))
        counts = to_device(batch.counts, model)
        labeled = loss_against(logits, boxes, batch.boxes, None, counts)
        if teacher is None:
            return labeled
        guesses = [
            pseudo_labels(*guess) for guess in zip(*teacher.detect(batch.images), strict=True)
        ]
        people, sure = map(list, zip(*guesses, strict=True))
        learned = loss_against(logits, boxes, people, sure, torch.ones_like(counts))
        return (1 - recipe.distillation_weight) * labeled + recipe.distillation_weight * learned

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(model, DetectorNet)
        decoder = BoxDecoder(model)

        @torch.inference_mode()
        def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
            boxes, scores = decoder(to_device(images, model))
            return boxes.cpu().numpy(), scores.cpu().numpy()

        mine = local_items(list(val.images))
        found = detected_boxes(
            val, val_images, detect, canvas=recipe.phase_at(step).size, image_ids=mine
        )
        return box_ap(val, dict(gathered(list(found.items()))))

    return Task(
        model=DetectorNet(net),
        batch_at=batch_at,
        pictures_of=lambda batch: batch.images,
        loss_of=loss_of,
        evaluate=evaluate,
    )
