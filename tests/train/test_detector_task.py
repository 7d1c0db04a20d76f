from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny_training
from slimpose.arrays import Crops, Size
from slimpose.data.augment import Augmentation
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.detector import recall_and_false_positives
from slimpose.formats import coco
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.family import detector_of, family_spec
from slimpose.runtime.detector import box_nms
from slimpose.train.box_distillation import BoxTeacher
from slimpose.train.detector_task import DetectorTask, giou_loss, quality_focal_loss
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.task import TrainingData

NO_AUGMENTATION = dataclasses.replace(Augmentation().scaled(0.0), flip=0.0)

# losses


def test_quality_focal_loss_is_smallest_at_the_targets() -> None:
    targets, mask = torch.tensor([[[0.0, 0.3], [0.9, 0.0]]]), torch.ones(1, 2, 2)
    logits = torch.logit(targets.clamp(1e-4, 1 - 1e-4))
    assert float(quality_focal_loss(logits, targets, mask)) < 1e-4
    for change in (-1.0, 1.0):
        assert float(quality_focal_loss(logits + change, targets, mask)) > 0.01
    elsewhere = torch.tensor([[[5.0, 0], [0, 0]]])
    mask[0, 0, 0] = 0
    assert float(quality_focal_loss(logits + elsewhere, targets, mask)) < 1e-4


def test_giou_loss_grows_with_distance() -> None:
    target = torch.tensor([[[10.0, 10, 30, 50]]])
    weights = torch.ones(1, 1)
    assert float(giou_loss(target, target, weights)) == pytest.approx(0, abs=1e-6)
    near, far = target + 5, target + 100
    assert float(giou_loss(near, target, weights)) < float(giou_loss(far, target, weights))
    # Disjoint: the empty part of the enclosing box counts too.
    assert float(giou_loss(far, target, weights)) > 1


# the task


def task_recipe(weight: float) -> Recipe:
    net = detector_of(family_spec("mnv2"), size=Size(64, 64))
    return tiny_training.tiny_recipe(
        task="detect",
        net=dataclasses.replace(net, width_multiplier=0.35),
        phases=(Phase(size=Size(64, 64), samples=8),),
        batch=2,
        distillation_weight=weight,
        augmentation=NO_AUGMENTATION,
    )


def constant_teacher(box: tuple[float, float, float, float]) -> BoxTeacher:
    def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.tile(np.array(box, np.float32), (len(images), 1, 1))
        return boxes, np.ones((len(images), 1), np.float32)

    return BoxTeacher(name="constant", runs_on="NumPy", detect=detect)


@pytest.fixture(scope="module")
def data(people_folder: Path) -> TrainingData:
    return tiny_training.training_data(people_folder, keypoints=False)


def test_distillation_weight_is_the_share_of_the_teacher(data: TrainingData) -> None:
    def losses(weight: float) -> float:
        teacher = constant_teacher((8, 8, 56, 56)) if weight else None
        task = DetectorTask(task_recipe(weight), data, teacher=teacher)
        torch.manual_seed(0)
        logits = torch.randn(2, 64)
        boxes = torch.rand(2, 64, 4) * 10 + torch.tensor([0, 0, 30, 30])

        class Constant(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.unused = nn.Parameter(torch.zeros(1))

            def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
                assert len(images) == len(logits)
                return logits, boxes

        return float(task.loss(Constant(), task.batch_at(0)))

    of_labels, of_both, of_teacher = losses(0.0), losses(0.5), losses(1.0)
    assert of_both == pytest.approx((of_labels + of_teacher) / 2, rel=1e-4)
    assert of_teacher != pytest.approx(of_labels, rel=0.01)


WEIGHT, TEACHER = "and the recipe's distillation_weight", constant_teacher((0, 0, 9, 9))


@pytest.mark.parametrize(
    ("weight", "teacher", "unlabeled", "message"),
    [
        (0.5, None, None, f"a teacher is missing, {WEIGHT} is 0.5; expected both or neither"),
        (0.0, TEACHER, None, f"a teacher was given, {WEIGHT} is 0; expected both or neither"),
        (0.0, None, Path("more"), "unlabeled images (more) need a teacher"),
    ],
)
def test_contradictory_options_are_rejected(
    data: TrainingData,
    weight: float,
    teacher: BoxTeacher | None,
    unlabeled: Path | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DetectorTask(task_recipe(weight), data, teacher=teacher, unlabeled=unlabeled)


# decoding, NMS and figures


def test_decoder_returns_the_best_cells_in_order() -> None:
    decoder = BoxDecoder(
        DetectorNet(detector_of(family_spec("mnv2"), size=Size(96, 96))).eval(), max_boxes=20
    )
    with torch.inference_mode():
        boxes, scores = decoder(torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8))
    assert boxes.shape == (2, 20, 4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_nms_keeps_the_higher_score() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [50, 0, 60, 20]], np.float32)
    assert box_nms(boxes, np.array([0.5, 0.9, 0.3], np.float32), iou_threshold=0.6) == [1, 2]


def test_recall_and_false_positives_are_counted(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 400, "height": 400}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 200]},  # tall, detected
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 0, 50, 200]},  # tall, missed
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [200, 0, 20, 40]},  # small
            {"id": 4, "image_id": 1, "category_id": 1, "bbox": [200, 200, 200, 200], "iscrowd": 1},
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    detected = ScoredBoxes(
        boxes_image=np.array(
            [
                [0, 0, 50, 190],
                [0, 0, 50, 180],  # the same person again: false
                [250, 250, 300, 300],  # in the crowd: not false
                [300, 0, 350, 50],  # not a person: false
                [310, 90, 360, 140],  # below the threshold
            ],
            np.float32,
        ),
        scores=np.array([0.9, 0.8, 0.8, 0.7, 0.1], np.float32),
    )
    figures = recall_and_false_positives(
        coco.read(path, keypoints=False), {1: detected}, threshold=0.3
    )
    assert figures == {"recall_tall": 0.5, "false_per_image": 2.0}
