from __future__ import annotations

import numpy as np
import pytest
import torch

from slimpose.train.box_targets import assign_cells


def test_best_predictions_are_assigned_with_overlap_as_score() -> None:
    boxes = torch.zeros(1, 4, 8, 8)
    boxes[0, :, 2, 2] = torch.tensor([8.0, 8, 40, 40])  # exact, low score
    boxes[0, :, 3, 3] = torch.tensor([8.0, 8, 40, 24])  # half of it, high score
    boxes[0, :, 7, 7] = torch.tensor([8.0, 8, 40, 40])  # exact, from a cell outside
    logits = torch.full((1, 8, 8), -2.0)
    logits[0, 3, 3] = 4.0
    person = np.array([[8, 8, 40, 40]], np.float32)
    targets, target_boxes = assign_cells(logits, boxes, [person], None, stride=8)
    assert float(targets[0, 2, 2]) == 1.0 == float(targets.max())
    # Half of the overlap to the sixth, and a higher score.
    assert 0.01 < float(targets[0, 3, 3]) < 0.1
    assert float(targets[0, 7, 7]) == 0
    assert target_boxes[0, :, 3, 3].tolist() == [8, 8, 40, 40]
    confidences = [np.array([0.3], np.float32)]
    targets, _ = assign_cells(logits, boxes, [person], confidences, stride=8)
    assert float(targets.max()) == pytest.approx(0.3)


def test_contested_cell_goes_to_the_larger_overlap() -> None:
    boxes = torch.tensor([8.0, 8, 40, 60]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    people = np.array([[8, 8, 40, 40], [8, 8, 40, 60]], np.float32)
    targets, target_boxes = assign_cells(torch.zeros(1, 8, 8), boxes, [people], None, stride=8)
    assert set(target_boxes[0][:, targets[0] > 0][3].tolist()) == {60.0}


def test_every_person_gets_a_cell() -> None:
    boxes = torch.tensor([50.0, 50, 60, 60]).view(1, 4, 1, 1).expand(1, 4, 8, 8)  # overlaps neither
    people = np.array([[0, 0, 32, 32], [41, 41, 44, 44]], np.float32)
    confidences = [np.array([0.9, 0.8], np.float32)]
    targets, _ = assign_cells(torch.zeros(1, 8, 8), boxes, [people], confidences, stride=8)
    assert float(targets[0, :4, :4].max()) == pytest.approx(0.9)
    assert float(targets[0, 5, 5]) == pytest.approx(0.8)  # its center, 42.5, lies in that cell
    empty, _ = assign_cells(torch.zeros(1, 8, 8), boxes, [people[:0]], None, stride=8)
    assert not empty.any()
