"""Which of the detector's cells answer for which person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torchvision.ops import box_iou

from slimpose import geometry

_CELLS_A_PERSON = 10
_SCORE_POWER, _OVERLAP_POWER = 0.5, 6.0
_TINY = 1e-3
"""What an overlap counts as at least, so that a person whom no guess meets yet has cells too."""


@torch.no_grad()
def assign_cells(
    logits: Tensor,
    boxes: Tensor,
    people: Sequence[Float32[np.ndarray, "_ 4"]],
    sure: Sequence[Float32[np.ndarray, " _"]] | None,
    *,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Return what each cell's score should be (n, h, w), 0 where it answers for nobody, and its box (n, 4, h, w).

    A person's cells are the ten in its box whose present guesses, by score and overlap, are best.
    The best of them should score as the person's best overlap so far or, of people a teacher
    guessed, as the teacher is sure of them; the others in proportion. A cell two people would have
    goes to the one its guess overlaps more.

    Args:
        logits: The net's (n, h, w).
        boxes: Its guesses x1, y1, x2, y2 (n, 4, h, w) in input pixels.
        people: Each picture's boxes (people, 4) in input pixels.
        sure: How sure a teacher is of each of them, 0..1; of labels there is no such thing.
        stride: Input pixels a cell.

    Source:
        Feng et al., "TOOD: Task-aligned One-stage Object Detection", ICCV 2021, equations 1 and 2
        (task alignment; alpha and beta of YOLOv8).
    """
    (height, width), device = logits.shape[1:], logits.device
    columns_lines = np.indices((height, width), np.float32)[::-1].reshape(1, 2, -1).swapaxes(1, 2)
    cells = torch.from_numpy(geometry.heatmap_to_crop(columns_lines, stride)[0]).to(device)
    guesses, scores = boxes.flatten(2).transpose(1, 2), torch.sigmoid(logits).flatten(1)
    targets, target_boxes = torch.zeros_like(scores), torch.zeros_like(guesses)
    for row, found in enumerate(people):
        if len(found) == 0:
            continue
        wanted = torch.from_numpy(found).to(device)
        overlap = box_iou(wanted, guesses[row])
        fit = (
            scores[row] ** _SCORE_POWER
            * overlap.clamp_min(_TINY) ** _OVERLAP_POWER
            * _holds(wanted, cells, stride)
        )
        least = fit.topk(min(_CELLS_A_PERSON, fit.shape[1]), dim=1).values[:, -1:]
        fit = torch.where(fit >= least, fit, 0)
        owner = torch.where(fit > 0, overlap + 1, 0).argmax(0)
        fit = fit * (torch.arange(len(wanted), device=device)[:, None] == owner)
        quality = (
            overlap.where(fit > 0, 0).amax(1)
            if sure is None
            else torch.from_numpy(sure[row]).to(device)
        )
        share = fit / fit.amax(1, keepdim=True).clamp_min(torch.finfo(fit.dtype).tiny)
        targets[row] = (share * quality[:, None]).amax(0)
        target_boxes[row] = wanted[owner]
    maps = targets.view(-1, height, width)
    return maps, target_boxes.transpose(1, 2).reshape(-1, 4, height, width)


def _holds(people: Tensor, cells: Tensor, stride: int) -> Tensor:
    """Whether each person's box, or one a cell wide around its center if it is smaller, holds each cell's center."""
    centers, halves = (people[:, :2] + people[:, 2:]) / 2, (people[:, 2:] - people[:, :2]) / 2
    return ((cells[None] - centers[:, None]).abs() <= halves.clamp_min(stride / 2)[:, None]).all(2)
