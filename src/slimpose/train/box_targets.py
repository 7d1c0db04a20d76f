"""Target assignment for the person detector: which cells predict which person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torchvision.ops import box_iou

from slimpose.network.cells import Cells

_CELLS_PER_PERSON = 10
_SCORE_POWER, _OVERLAP_POWER = 0.5, 6.0
_MIN_OVERLAP = 1e-3
"""Least IoU in the alignment, so that a person no prediction overlaps yet gets cells too."""


@torch.no_grad()
def assign_cells(
    logits: Tensor,
    boxes: Tensor,
    person_boxes: Sequence[Float32[np.ndarray, "_ 4"]],
    confidences: Sequence[Float32[np.ndarray, " _"]] | None,
    *,
    cells: Cells,
) -> tuple[Tensor, Tensor]:
    """Return each cell's target score (n, cells), 0 without a person, and box (n, cells, 4).

    A person gets the ten cells in its box whose current predictions, by score and overlap, are
    best. The target of the best of them is the person's best overlap so far or, for a teacher's
    pseudo labels, the teacher's confidence; the others' targets are in proportion. A cell that two
    people claim goes to the one its prediction overlaps more.

    The network's logits are (n, cells), its boxes (n, cells, 4); they and each image's
    ``person_boxes`` (people, 4) are x1, y1, x2, y2 in input pixels. ``confidences`` 0..1 are a
    teacher's in each person; None for labels.

    Source:
        Feng et al., "TOOD: Task-aligned One-stage Object Detection", ICCV 2021, equations 1 and 2
        (task alignment; alpha and beta of YOLOv8).
    """
    device, scores = logits.device, torch.sigmoid(logits)
    targets, target_boxes = torch.zeros_like(scores), torch.zeros_like(boxes)
    for row, labels in enumerate(person_boxes):
        if len(labels) == 0:
            continue
        people = torch.from_numpy(labels).to(device)
        overlap = box_iou(people, boxes[row])
        alignment = (
            scores[row] ** _SCORE_POWER
            * overlap.clamp_min(_MIN_OVERLAP) ** _OVERLAP_POWER
            * _contains(people, cells)
        )
        count = min(_CELLS_PER_PERSON, alignment.shape[1])
        least = alignment.topk(count, dim=1).values[:, -1:]
        alignment = torch.where(alignment >= least, alignment, 0)
        owner = torch.where(alignment > 0, overlap + 1, 0).argmax(0)
        alignment = alignment * (torch.arange(len(people), device=device)[:, None] == owner)
        if confidences is None:
            quality = overlap.where(alignment > 0, 0).amax(1)
        else:
            quality = torch.from_numpy(confidences[row]).to(device)
        smallest = torch.finfo(alignment.dtype).tiny
        share = alignment / alignment.amax(1, keepdim=True).clamp_min(smallest)
        targets[row] = (share * quality[:, None]).amax(0)
        target_boxes[row] = people[owner]
    return targets, target_boxes


def _contains(people: Tensor, cells: Cells) -> Tensor:
    """Return whether each person's box, at least a cell in size, contains each cell center."""
    centers, halves = (people[:, :2] + people[:, 2:]) / 2, (people[:, 2:] - people[:, :2]) / 2
    reach = torch.maximum(halves[:, None], cells.strides[:, None] / 2)
    return ((cells.centers - centers[:, None]).abs() <= reach).all(2)
