"""Training the person detector: focal loss on centres, GIoU on boxes, person AP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose.arrays import Crops, Size
from slimpose.data.order import Order
from slimpose.data.scenes import SceneBatch, SceneBatches, load_scenes, load_unlabelled
from slimpose.evaluate.detector import box_ap, detected_boxes
from slimpose.formats import coco
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.spec import NetSpec
from slimpose.train.distil_boxes import BoxTeacher, soft_targets
from slimpose.train.processes import WHOLE, Part, gathered, mean_of_all, my_share
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task, placed

_BOX_WEIGHT = 5.0
_SURE_ENOUGH = 0.1
"""A teacher's box counts from this confidence on."""


def centre_loss(logits: Tensor, centres: Tensor, counts: Tensor, people: float) -> Tensor:
    """Return the focal loss a person; cells of ``counts`` 0 are left out.

    Source:
        Law & Deng, "CornerNet", ECCV 2018, equation 1 (alpha 2, beta 4).
    """
    probability = torch.sigmoid(logits)
    found = -((1 - probability) ** 2) * F.logsigmoid(logits)
    false = -((1 - centres) ** 4) * probability**2 * F.logsigmoid(-logits)
    return (torch.where(centres >= 1, found, false) * counts).sum() / max(1, people)


def soft_centre_loss(logits: Tensor, sure: Tensor) -> Tensor:
    """Return the focal loss against a teacher's confidences (n, h, w), for each unit of its confidence.

    Source:
        Li et al., "Generalized Focal Loss", NeurIPS 2020, equation 6 (quality focal loss, beta 2).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, sure, reduction="none")
    return ((sure - torch.sigmoid(logits)) ** 2 * entropy).sum() / mean_of_all(sure.sum()).clamp_min(1)


def giou_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of 1 - generalised IoU of boxes (n, 4, h, w), counted by weights (n, h, w).

    Source:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    counted = weights > 0
    total = mean_of_all(weights[counted].sum())
    if not counted.any():
        return predicted.sum() * 0
    a, b = predicted.permute(0, 2, 3, 1)[counted], target.permute(0, 2, 3, 1)[counted]
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    giou = overlap / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)
    return ((1 - giou) * weights[counted]).sum() / total


def detector_task(
    recipe: Recipe,
    *,
    train: coco.CocoFile,
    train_images: Path,
    val: coco.CocoFile,
    val_images: Path,
    unlabelled: Path | None = None,
    teacher: BoxTeacher | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Task:
    """Read the data, and a folder of pictures without labels for a teacher to label, and return the task.

    Raises:
        ValueError: If the recipe wants a teacher and none is given, or one is given in vain.
    """
    if (teacher is not None) != (recipe.alpha > 0):
        told = "was given" if teacher else "is missing"
        raise ValueError(f"a teacher {told}, and the recipe's alpha is {recipe.alpha:g}; expected both or neither")
    if unlabelled is not None and teacher is None:
        raise ValueError(f"pictures without labels ({unlabelled}) need a teacher")
    net = recipe.net
    if not isinstance(net, NetSpec):
        raise ValueError(f"recipe {recipe.name} trains {net.baseline}, which is no person detector")
    val.check_images(val_images)
    largest = max(max(phase.size) for phase in recipe.phases)
    scenes = load_scenes(train, train_images, largest_side=int(1.5 * largest), on_progress=on_progress)
    if unlabelled is not None:
        scenes += load_unlabelled(unlabelled, largest_side=int(1.5 * largest), on_progress=on_progress)
    repeats = np.array([recipe.source_repeats.get(scene.source, 1.0) for scene in scenes])
    batches = SceneBatches(
        scenes=scenes, order=Order(repeats, seed=recipe.seed), stride=recipe.net.stride, seed=recipe.seed
    )

    def batch_at(step: int, part: Part = WHOLE) -> SceneBatch:
        phase = recipe.phase_at(step)
        how = recipe.augmentation.weaker(phase.augmentation)
        return batches.batch(*part.span(step, recipe.batch), phase.size, how)

    def loss_of(model: nn.Module, batch: SceneBatch) -> Tensor:
        logits, boxes = model(placed(batch.images, model))
        located = giou_loss(boxes, placed(batch.boxes, model), placed(batch.box_weights, model))
        people = float(mean_of_all(torch.tensor(float(batch.people), device=logits.device)))
        centred = centre_loss(logits, placed(batch.centres, model), placed(batch.counts, model), people)
        labelled = centred + _BOX_WEIGHT * located
        if teacher is None:
            return labelled
        stride = recipe.net.stride
        guessed, guessed_boxes = soft_targets(*teacher.guesses_of(batch.images), Size(*logits.shape[1:]), stride)
        sure = placed(guessed, model)
        learnt = soft_centre_loss(logits, sure) + _BOX_WEIGHT * giou_loss(
            boxes, placed(guessed_boxes, model), torch.where(sure > _SURE_ENOUGH, sure, 0)
        )
        return (1 - recipe.alpha) * labelled + recipe.alpha * learnt

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(model, DetectorNet)
        decoder = BoxDecoder(model)

        @torch.inference_mode()
        def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
            boxes, scores = decoder(placed(images, model))
            return boxes.cpu().numpy(), scores.cpu().numpy()

        mine = my_share(list(val.images))
        found = detected_boxes(val, val_images, detect, canvas=recipe.phase_at(step).size, image_ids=mine)
        return box_ap(val, dict(gathered(list(found.items()))))

    return Task(
        model=DetectorNet(net),
        batch_at=batch_at,
        pictures_of=lambda batch: batch.images,
        loss_of=loss_of,
        evaluate=evaluate,
    )
