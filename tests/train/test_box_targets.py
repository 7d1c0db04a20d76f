from __future__ import annotations

import numpy as np
import pytest
import torch

from slimpose.arrays import Size
from slimpose.network.cells import grid_cells
from slimpose.train.box_targets import assign_cells

CELLS = grid_cells(Size(64, 64), [8], torch.device("cpu"))


def test_best_predictions_are_assigned_with_overlap_as_score() -> None:
    boxes = torch.zeros(1, 8, 8, 4)
    boxes[0, 2, 2] = torch.tensor([8.0, 8, 40, 40])  # exact, low score
    boxes[0, 3, 3] = torch.tensor([8.0, 8, 40, 24])  # half of it, high score
    boxes[0, 7, 7] = torch.tensor([8.0, 8, 40, 40])  # exact, from a cell outside
    logits = torch.full((1, 8, 8), -2.0)
    logits[0, 3, 3] = 4.0
    person = np.array([[8, 8, 40, 40]], np.float32)
    targets, target_boxes = assign_cells(
        logits.flatten(1), boxes.flatten(1, 2), [person], None, cells=CELLS
    )
    assert float(targets[0, 2 * 8 + 2]) == 1.0 == float(targets.max())
    # Half of the overlap to the sixth, and a higher score.
    assert 0.01 < float(targets[0, 3 * 8 + 3]) < 0.1
    assert float(targets[0, 7 * 8 + 7]) == 0
    assert target_boxes[0, 3 * 8 + 3].tolist() == [8, 8, 40, 40]
    confidences = [np.array([0.3], np.float32)]
    targets, _ = assign_cells(
        logits.flatten(1), boxes.flatten(1, 2), [person], confidences, cells=CELLS
    )
    assert float(targets.max()) == pytest.approx(0.3)


def test_contested_cell_goes_to_the_larger_overlap() -> None:
    boxes = torch.tensor([8.0, 8, 40, 60]).expand(1, 64, 4)
    people = np.array([[8, 8, 40, 40], [8, 8, 40, 60]], np.float32)
    targets, target_boxes = assign_cells(torch.zeros(1, 64), boxes, [people], None, cells=CELLS)
    assert set(target_boxes[0][targets[0] > 0][:, 3].tolist()) == {60.0}


def test_every_person_gets_a_cell() -> None:
    boxes = torch.tensor([50.0, 50, 60, 60]).expand(1, 64, 4)  # overlaps neither
    people = np.array([[0, 0, 32, 32], [41, 41, 44, 44]], np.float32)
    confidences = [np.array([0.9, 0.8], np.float32)]
    targets, _ = assign_cells(torch.zeros(1, 64), boxes, [people], confidences, cells=CELLS)
    assert float(targets[0].view(8, 8)[:4, :4].max()) == pytest.approx(0.9)
    assert float(targets[0, 5 * 8 + 5]) == pytest.approx(0.8)  # its center, 42.5, lies in that cell
    empty, _ = assign_cells(torch.zeros(1, 64), boxes, [people[:0]], None, cells=CELLS)
    assert not empty.any()
