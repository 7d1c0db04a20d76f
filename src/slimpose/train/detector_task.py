"""Training the person detector: focal loss on centres, GIoU on boxes, person AP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.data.order import Order
from slimpose.data.scenes import SceneBatch, SceneBatches, load_scenes
from slimpose.evaluate.detector import box_ap, detected_boxes
from slimpose.formats import coco
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

_BOX_WEIGHT = 5.0


def centre_loss(logits: Tensor, centres: Tensor, counts: Tensor, people: int) -> Tensor:
    """Return the focal loss a person; cells of ``counts`` 0 are left out.

    Source:
        Law & Deng, "CornerNet", ECCV 2018, equation 1 (alpha 2, beta 4).
    """
    probability = torch.sigmoid(logits)
    found = -((1 - probability) ** 2) * F.logsigmoid(logits)
    false = -((1 - centres) ** 4) * probability**2 * F.logsigmoid(-logits)
    return (torch.where(centres >= 1, found, false) * counts).sum() / max(1, people)


def giou_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of 1 - generalised IoU of boxes (n, 4, h, w), counted by weights (n, h, w).

    Source:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    counted = weights > 0
    if not counted.any():
        return predicted.sum() * 0
    a, b = predicted.permute(0, 2, 3, 1)[counted], target.permute(0, 2, 3, 1)[counted]
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    giou = overlap / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)
    return ((1 - giou) * weights[counted]).sum() / weights[counted].sum()


def detector_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Task:
    """Read the data and return the task."""
    val.check_images(val_images)
    largest = max(max(phase.size) for phase in recipe.phases)
    scenes = load_scenes(train, train_images, largest_side=int(1.5 * largest), on_progress=on_progress)
    repeats = np.array([recipe.source_repeats.get(scene.source, 1.0) for scene in scenes])
    batches = SceneBatches(
        scenes=scenes, order=Order(repeats, seed=recipe.seed), stride=recipe.net.stride, seed=recipe.seed
    )

    def batch_at(step: int) -> SceneBatch:
        phase = recipe.phase_at(step)
        how = recipe.augmentation.weaker(phase.augmentation)
        return batches.batch(step * recipe.batch, recipe.batch, phase.size, how)

    def loss_of(model: nn.Module, batch: SceneBatch) -> Tensor:
        logits, boxes = model(torch.from_numpy(batch.images))
        centres, counts = torch.from_numpy(batch.centres), torch.from_numpy(batch.counts)
        located = giou_loss(boxes, torch.from_numpy(batch.boxes), torch.from_numpy(batch.box_weights))
        return centre_loss(logits, centres, counts, batch.people) + _BOX_WEIGHT * located

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(model, DetectorNet)
        decoder = BoxDecoder(model)

        @torch.inference_mode()
        def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
            boxes, scores = decoder(torch.from_numpy(images))
            return boxes.numpy(), scores.numpy()

        return box_ap(val, detected_boxes(val, val_images, detect, canvas=recipe.phase_at(step).size))

    return Task(
        model=DetectorNet(recipe.net),
        batch_at=batch_at,
        pictures_of=lambda batch: batch.images,
        loss_of=loss_of,
        evaluate=evaluate,
    )
