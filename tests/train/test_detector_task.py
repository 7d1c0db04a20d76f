"""The person detector: targets, losses, decoding, and what counts as found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.scenes import DetectorBatches, TrainingImage
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.detector import recall_and_false_positives
from slimpose.formats import coco
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.family import detector_of, family_spec
from slimpose.runtime.detector import box_nms
from slimpose.train.box_targets import assign_cells
from slimpose.train.detector_task import giou_loss


def batches(boxes: list[list[float]], crowd: list[bool]) -> DetectorBatches:
    scene = TrainingImage(
        stored=np.full((64, 64, 3), 200, np.uint8),
        boxes_image=np.array(boxes, np.float32).reshape(-1, 4),
        is_crowd=np.array(crowd, bool),
        source="",
    )
    return DetectorBatches(images=[scene], order=SampleOrder(np.ones(1), seed=0), stride=8, seed=0)


STILL = dataclasses.replace(Augmentation().scaled(0.0), flip=0.0)


def still(*, flip: float = 0.0, scale: float = 0.0, shift: float = 0.0) -> Augmentation:
    return dataclasses.replace(STILL, flip=flip, scale=scale, shift=shift)


def test_a_person_is_to_be_found_where_the_picture_shows_them() -> None:
    batch = batches([[8, 16, 40, 64]], [False]).batch(0, 1, Size(64, 64), still())
    np.testing.assert_allclose(
        batch.boxes[0], [[8, 16, 40, 63.5]], atol=0.6
    )  # clipped to the picture
    assert batch.counts.all()


def test_a_mirror_moves_the_box_with_the_picture() -> None:
    batch = batches([[8, 16, 24, 48]], [False]).batch(0, 1, Size(64, 64), still(flip=1.0))
    np.testing.assert_allclose(batch.boxes[0], [[39, 16, 55, 48]], atol=0.6)


def test_cells_in_a_crowd_are_left_out_of_the_loss() -> None:
    batch = batches([[0, 0, 32, 32]], [True]).batch(0, 1, Size(64, 64), still())
    assert batch.boxes[0].shape == (0, 4)
    assert (batch.counts[0, :4, :4] == 0).all()
    assert (batch.counts[0, 6:] == 1).all()


def test_right_boxes_cost_nothing_and_far_ones_more_than_near_ones() -> None:
    target = torch.tensor([10.0, 10, 30, 50]).view(1, 4, 1, 1)
    weights = torch.ones(1, 1, 1)
    assert float(giou_loss(target, target, weights)) == pytest.approx(0, abs=1e-6)
    near, far = target + 5, target + 100
    assert float(giou_loss(near, target, weights)) < float(giou_loss(far, target, weights))
    assert float(giou_loss(far, target, weights)) > 1  # apart: the hull's empty part is charged too


def test_a_person_gets_the_cells_whose_guesses_are_best_and_the_best_scores_as_its_overlap() -> (
    None
):
    boxes = torch.zeros(1, 4, 8, 8)
    boxes[0, :, 2, 2] = torch.tensor([8.0, 8, 40, 40])  # exact, and unsure
    boxes[0, :, 3, 3] = torch.tensor([8.0, 8, 40, 24])  # half of it, and sure
    boxes[0, :, 7, 7] = torch.tensor([8.0, 8, 40, 40])  # exact, from a cell outside
    logits = torch.full((1, 8, 8), -2.0)
    logits[0, 3, 3] = 4.0
    person = np.array([[8, 8, 40, 40]], np.float32)
    targets, answers = assign_cells(logits, boxes, [person], None, stride=8)
    assert float(targets[0, 2, 2]) == 1.0 == float(targets.max())
    assert (
        0.01 < float(targets[0, 3, 3]) < 0.1
    )  # by half the overlap to the sixth, and twice as sure
    assert float(targets[0, 7, 7]) == 0
    assert answers[0, :, 3, 3].tolist() == [8, 8, 40, 40]
    sure = [np.array([0.3], np.float32)]
    assert float(assign_cells(logits, boxes, [person], sure, stride=8)[0].max()) == pytest.approx(
        0.3
    )


def test_a_cell_that_two_people_would_have_is_the_one_s_whom_its_guess_meets() -> None:
    boxes = torch.tensor([8.0, 8, 40, 60]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    people = np.array([[8, 8, 40, 40], [8, 8, 40, 60]], np.float32)
    targets, answers = assign_cells(torch.zeros(1, 8, 8), boxes, [people], None, stride=8)
    assert set(answers[0][:, targets[0] > 0][3].tolist()) == {60.0}


def test_nobody_is_too_small_or_too_badly_guessed_for_a_cell() -> None:
    boxes = torch.tensor([50.0, 50, 60, 60]).view(1, 4, 1, 1).expand(1, 4, 8, 8)  # meets neither
    people = np.array([[0, 0, 32, 32], [41, 41, 44, 44]], np.float32)
    sure = [np.array([0.9, 0.8], np.float32)]
    targets, _ = assign_cells(torch.zeros(1, 8, 8), boxes, [people], sure, stride=8)
    assert float(targets[0, :4, :4].max()) == pytest.approx(0.9)
    assert float(targets[0, 5, 5]) == pytest.approx(0.8)  # its center, 42.5, lies in that cell
    nobody, _ = assign_cells(torch.zeros(1, 8, 8), boxes, [people[:0]], None, stride=8)
    assert not nobody.any()


def test_decoder_gives_the_best_cells_best_first() -> None:
    decoder = BoxDecoder(
        DetectorNet(detector_of(family_spec("mnv2"), size=Size(96, 96))).eval(), max_boxes=20
    )
    with torch.inference_mode():
        boxes, scores = decoder(torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8))
    assert boxes.shape == (2, 20, 4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_nms_keeps_the_better_of_two_on_one_person() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [50, 0, 60, 20]], np.float32)
    assert box_nms(boxes, np.array([0.5, 0.9, 0.3], np.float32), iou_threshold=0.6) == [1, 2]


def test_found_and_false_boxes_are_counted_as_they_are(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 400, "height": 400}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 200]},  # tall, found
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 0, 50, 200]},  # tall, missed
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [200, 0, 20, 40]},  # small
            {"id": 4, "image_id": 1, "category_id": 1, "bbox": [200, 200, 200, 200], "iscrowd": 1},
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    found = ScoredBoxes(
        boxes_image=np.array(
            [
                [0, 0, 50, 190],
                [0, 0, 50, 180],  # the same person again: false
                [250, 250, 300, 300],  # in the crowd: not false
                [300, 0, 350, 50],  # nobody: false
                [310, 90, 360, 140],  # under the threshold
            ],
            np.float32,
        ),
        scores=np.array([0.9, 0.8, 0.8, 0.7, 0.1], np.float32),
    )
    figures = recall_and_false_positives(
        coco.read(path, keypoints=False), {1: found}, threshold=0.3
    )
    assert figures == {"recall_tall": 0.5, "false_per_image": 2.0}


def test_a_mosaic_s_pictures_are_of_its_own_epoch() -> None:
    """Where pictures are drawn by lot, the others of a mosaic are not always the first epoch's."""
    scenes = [
        TrainingImage(
            stored=np.full((64, 64, 3), number, np.uint8),
            boxes_image=np.zeros((0, 4), np.float32),
            is_crowd=np.zeros(0, bool),
            source="",
        )
        for number in range(100)
    ]
    drawn = DetectorBatches(
        images=scenes, order=SampleOrder(np.full(100, 0.1), seed=0), stride=8, seed=0
    )
    order, mosaics = drawn.order, dataclasses.replace(STILL, mosaic=1.0)
    for position in (0, 57):
        epoch = {order.at(position - position % 10 + other) for other in range(10)}
        seen = {
            int(pixel)
            for pixel in np.unique(drawn.batch(position, 1, Size(64, 64), mosaics).images)
        }
        assert len(epoch) == 10
        assert len(seen & epoch) > 1
        assert seen <= {*epoch, 114}  # the canvas around a picture of another shape
