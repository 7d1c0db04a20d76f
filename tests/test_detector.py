"""The person detector: targets, losses, decoding, and what counts as found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from slimpose.arrays import Size
from slimpose.evaluate.boxes import PeopleBoxes
from slimpose.evaluate.detector import recall_and_false
from slimpose.formats import coco
from slimpose.runtime.detector import box_nms

torch = pytest.importorskip("torch")

from slimpose.data.augment import Augmentation  # noqa: E402
from slimpose.data.order import Order  # noqa: E402
from slimpose.data.scenes import Scene, SceneBatches  # noqa: E402
from slimpose.network.detector_net import BoxDecoder, DetectorNet  # noqa: E402
from slimpose.network.family import detector_of, member  # noqa: E402
from slimpose.train.detector_task import centre_loss, giou_loss  # noqa: E402


def batches(boxes: list[list[float]], crowd: list[bool]) -> SceneBatches:
    scene = Scene(
        stored=np.full((64, 64, 3), 200, np.uint8),
        boxes_image=np.array(boxes, np.float32).reshape(-1, 4),
        is_crowd=np.array(crowd, bool),
        source="",
    )
    return SceneBatches(scenes=[scene], order=Order(np.ones(1), seed=0), stride=8, seed=0)


STILL = dataclasses.replace(Augmentation().weaker(0.0), flip=0.0)


def still(*, flip: float = 0.0, scale: float = 0.0, shift: float = 0.0) -> Augmentation:
    return dataclasses.replace(STILL, flip=flip, scale=scale, shift=shift)


def test_a_person_is_one_at_its_centre_and_gives_its_box_there() -> None:
    batch = batches([[8, 16, 40, 64]], [False]).batch(0, 1, Size(64, 64), still())
    assert batch.people == 1
    line, column = np.unravel_index(batch.centres[0].argmax(), (8, 8))
    assert (line, column) == (
        5,
        3,
    )  # the box is clipped to y 63.5; its centre, (24, 39.75) px, lies in that cell
    np.testing.assert_allclose(batch.boxes[0, :, line, column], [8, 16, 40, 63.5], atol=0.6)


def test_a_mirror_moves_the_box_with_the_picture() -> None:
    batch = batches([[8, 16, 24, 48]], [False]).batch(0, 1, Size(64, 64), still(flip=1.0))
    line, column = np.unravel_index(batch.centres[0].argmax(), (8, 8))
    np.testing.assert_allclose(batch.boxes[0, :, line, column], [39, 16, 55, 48], atol=0.6)


def test_cells_in_a_crowd_are_left_out_of_the_loss() -> None:
    batch = batches([[0, 0, 32, 32]], [True]).batch(0, 1, Size(64, 64), still())
    assert batch.people == 0
    assert (batch.counts[0, :4, :4] == 0).all()
    assert (batch.counts[0, 6:] == 1).all()


def test_right_boxes_cost_nothing_and_far_ones_more_than_near_ones() -> None:
    target = torch.tensor([10.0, 10, 30, 50]).view(1, 4, 1, 1)
    weights = torch.ones(1, 1, 1)
    assert float(giou_loss(target, target, weights)) == pytest.approx(0, abs=1e-6)
    near, far = target + 5, target + 100
    assert float(giou_loss(near, target, weights)) < float(giou_loss(far, target, weights))
    assert float(giou_loss(far, target, weights)) > 1  # apart: the hull's empty part is charged too


def test_a_confident_right_map_costs_less_than_a_wrong_one() -> None:
    centres = torch.zeros(1, 4, 4)
    centres[0, 1, 1] = 1
    right, wrong = torch.full((1, 4, 4), -6.0), torch.full((1, 4, 4), -6.0)
    right[0, 1, 1] = wrong[0, 3, 3] = 6
    counts = torch.ones(1, 4, 4)
    assert float(centre_loss(right, centres, counts, 1)) < 0.01 < float(centre_loss(wrong, centres, counts, 1))


def test_decoder_gives_peaks_best_first() -> None:
    decoder = BoxDecoder(DetectorNet(detector_of(member("mnv2"), size=Size(96, 96))).eval(), most=20)
    with torch.inference_mode():
        boxes, scores = decoder(torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8))
    assert boxes.shape == (2, 20, 4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_nms_keeps_the_better_of_two_on_one_person() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [50, 0, 60, 20]], np.float32)
    assert box_nms(boxes, np.array([0.5, 0.9, 0.3], np.float32), iou=0.6) == [1, 2]


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
    found = PeopleBoxes(
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
    figures = recall_and_false(coco.read(path, keypoints=False), {1: found}, threshold=0.3)
    assert figures == {"recall_tall": 0.5, "false_per_image": 2.0}
