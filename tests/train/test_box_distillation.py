from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lint_graphs import Sketch
from slimpose.arrays import Crops, Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.scenes import DetectorBatches, TrainingImage, load_unlabeled
from slimpose.formats import coco
from slimpose.network.family import detector_of, family_spec
from slimpose.runtime import models
from slimpose.runtime.backends.base import BackendError
from slimpose.train.box_distillation import (
    BoxTeacher,
    decode_yolox,
    open_box_teacher,
    pseudo_labels,
)
from slimpose.train.detector_task import detector_task, quality_loss
from slimpose.train.recipe import Phase, Recipe

STILL = dataclasses.replace(Augmentation().scaled(0.0), flip=0.0)
SHARED = Path(__file__).parents[3] / "shared"


def test_a_guess_is_an_offset_from_its_cells_corner_and_a_log_size_in_strides() -> None:
    outputs = np.zeros((1, 64 + 16 + 4, 6), np.float32)  # 64x64 pixels: 8x8, 4x4, 2x2 cells
    outputs[0, 8 + 2, :4] = 0.5, 0.25, np.log(2), np.log(4)  # stride 8, line 1, column 2
    outputs[0, 64 + 16 + 3, :4] = -0.5, 0, 0, 0  # stride 32, line 1, column 1
    boxes = decode_yolox(outputs, Size(64, 64))
    # Edges at 20 -+ 8 and 10 -+ 16; a pixel's center lies half a pixel behind its edge.
    np.testing.assert_allclose(boxes[0, 10], [11.5, -6.5, 27.5, 25.5], atol=1e-4)
    np.testing.assert_allclose(boxes[0, -1], [-0.5, 15.5, 31.5, 47.5], atol=1e-4)


def test_of_guesses_at_one_person_the_surest_is_believed() -> None:
    boxes = np.array([[4, 4, 18, 18], [4, 4, 19, 18], [30, 30, 34, 34], [0, 0, 2, 2]], np.float32)
    scores = np.array([0.4, 0.9, 0.5, 0.01], np.float32)
    people, sure = pseudo_labels(boxes, scores)
    np.testing.assert_array_equal(people, boxes[[1, 2]])
    np.testing.assert_array_equal(sure, scores[[1, 2]])


def test_the_loss_against_confidences_is_least_where_they_are_met() -> None:
    sure, counts = torch.tensor([[[0.0, 0.3], [0.9, 0.0]]]), torch.ones(1, 2, 2)
    met = torch.logit(sure.clamp(1e-4, 1 - 1e-4))
    assert float(quality_loss(met, sure, counts)) < 1e-4
    for change in (-1.0, 1.0):
        assert float(quality_loss(met + change, sure, counts)) > 0.01
    elsewhere = torch.tensor([[[5.0, 0], [0, 0]]])
    counts[0, 0, 0] = 0
    assert float(quality_loss(met + elsewhere, sure, counts)) < 1e-4


def colored(level: int, *, labeled: bool = True) -> TrainingImage:
    boxes = np.array([[10, 10, 50, 50]], np.float32) if labeled else np.zeros((0, 4), np.float32)
    return TrainingImage(
        stored=np.full((64, 64, 3), level, np.uint8),
        boxes_image=boxes,
        is_crowd=np.zeros(len(boxes), bool),
        source="",
        is_labeled=labeled,
    )


def test_a_mosaic_shows_four_pictures_with_their_people_in_place() -> None:
    scenes = [colored(level) for level in (40, 80, 160, 240)]
    batches = DetectorBatches(
        images=scenes, order=SampleOrder(np.ones(4), seed=1), stride=8, seed=3
    )
    batch = batches.batch(0, 6, Size(128, 128), dataclasses.replace(STILL, mosaic=1.0))
    for image, people in zip(batch.images, batch.boxes, strict=True):
        assert len(people) == 4
        for x1, y1, x2, y2 in people:
            inside = image[int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)]
            assert len(np.unique(inside)) == 1  # nobody reaches over into the next picture


def test_pictures_without_labels_ask_nothing_of_the_net_by_themselves() -> None:
    batches = DetectorBatches(
        images=[colored(90, labeled=False)],
        order=SampleOrder(np.ones(1), seed=0),
        stride=8,
        seed=0,
    )
    batch = batches.batch(0, 2, Size(64, 64), STILL)
    assert [len(people) for people in batch.boxes] == [0, 0]
    assert not batch.counts.any()


def test_a_folder_of_pictures_becomes_scenes_packed_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 120, 3), 50 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    raw_bytes = 3 * 3 * 0.75 * 60**2  # as many again may be labeled
    for memory, kind in ((2 * int(raw_bytes) + 1, np.ndarray), (2 * int(raw_bytes) - 1, bytes)):
        monkeypatch.setattr(
            "slimpose.data.scenes.available_memory_bytes", lambda memory=memory: memory
        )
        scenes = load_unlabeled(tmp_path, largest_side=60)
        assert [type(scene.stored) for scene in scenes] == [kind] * 3
        assert [scene.image().shape for scene in scenes] == [(30, 60, 3)] * 3
        assert [int(scene.image().mean()) for scene in scenes] == pytest.approx([0, 50, 100], abs=1)
    with pytest.raises(NotADirectoryError, match="no image folder"):
        load_unlabeled(tmp_path / "none", largest_side=60)


# the task


def task_recipe(alpha: float) -> Recipe:
    net = dataclasses.replace(
        detector_of(family_spec("mnv2"), size=Size(64, 64)), width_multiplier=0.35
    )
    phases = (Phase(size=Size(64, 64), samples=8),)
    return Recipe(
        name="tiny",
        task="detect",
        net=net,
        phases=phases,
        batch=2,
        distillation_weight=alpha,
        augmentation=STILL,
    )


def sure_teacher(box: tuple[float, float, float, float]) -> BoxTeacher:
    def guesses_of(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(np.array(box, np.float32), (len(images), 1, 1)), np.ones(
            (len(images), 1), np.float32
        )

    return BoxTeacher(name="sure", runs_on="nothing", detect=guesses_of)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> coco.CocoFile:
    import tiny_training

    return coco.read(tiny_training.write_people(tmp_path_factory.mktemp("scenes")), keypoints=False)


def test_the_loss_is_the_share_of_the_labels_and_of_the_teacher(people: coco.CocoFile) -> None:
    folder = people.path.parent

    def losses(alpha: float) -> float:
        teacher = sure_teacher((8, 8, 56, 56)) if alpha else None
        task = detector_task(
            task_recipe(alpha),
            train=people,
            train_images=folder,
            val=people,
            val_images=folder,
            teacher=teacher,
        )
        torch.manual_seed(0)
        logits, boxes = (
            torch.randn(2, 8, 8),
            torch.rand(2, 4, 8, 8) * 10 + torch.tensor([0, 0, 30, 30])[:, None, None],
        )

        class Guess(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.place = nn.Parameter(torch.zeros(1))

            def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
                assert len(images) == len(logits)
                return logits, boxes

        return float(task.loss_of(Guess(), task.batch_at(0)))

    labels, both, taught = losses(0.0), losses(0.5), losses(1.0)
    assert both == pytest.approx((labels + taught) / 2, rel=1e-4)
    assert taught != pytest.approx(labels, rel=0.01)


@pytest.mark.parametrize(
    ("alpha", "teacher", "unlabeled", "message"),
    [
        (
            0.5,
            None,
            None,
            "a teacher is missing, and the recipe's alpha is 0.5; expected both or neither",
        ),
        (0.0, sure_teacher((0, 0, 9, 9)), None, "a teacher was given, and the recipe's alpha is 0"),
        (0.0, None, Path("more"), "pictures without labels (more) need a teacher"),
    ],
)
def test_what_does_not_go_together_is_said(
    people: coco.CocoFile,
    alpha: float,
    teacher: BoxTeacher | None,
    unlabeled: Path | None,
    message: str,
) -> None:
    folder = people.path.parent
    with pytest.raises(ValueError, match=re.escape(message)):
        detector_task(
            task_recipe(alpha),
            train=people,
            train_images=folder,
            val=people,
            val_images=folder,
            teacher=teacher,
            unlabeled=unlabeled,
        )


# a file


def write_yolox(path: Path) -> Path:
    """A file of YOLOX's inputs and outputs that guesses noughts: 32x32 pixels, 4x4, 2x2 and 1x1 cells."""
    sketch = Sketch((1, 3, 32, 32)).conv(21 * 6, 3, (32, 32))
    onnx.save(sketch.node("Reshape", "*", sketch.constant([0, 21, 6], np.int64)).model(), path)
    return path


@pytest.mark.parametrize(
    ("offered", "runs_on"), [(("fp32",), "OpenVINO FP32"), (("fp32", "bf16"), "OpenVINO BF16")]
)
def test_a_box_teacher_says_the_precision_it_computes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: tuple[str, ...], runs_on: str
) -> None:
    monkeypatch.setattr("slimpose.train.inference.supported_precisions", lambda core: offered)
    teacher = open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))
    assert teacher.runs_on == runs_on
    boxes, scores = teacher.detect(np.zeros((2, 64, 64, 3), np.uint8))
    assert (boxes.shape, scores.shape) == ((2, 21, 4), (2, 21))


def test_without_openvino_a_box_teacher_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="OpenVINO is not installed: pip install"):
        open_box_teacher(write_yolox(tmp_path / "yolox.onnx"))


def test_a_file_that_is_no_yolox_is_refused(tmp_path: Path) -> None:

    with pytest.raises(FileNotFoundError, match="no teacher"):
        open_box_teacher(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(
        ValueError, match=re.escape(f"{tmp_path / 'text.onnx'} is not a detector's ONNX file")
    ):
        open_box_teacher(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"expected YOLOX's|is not a detector's ONNX file"):
        open_box_teacher(models.resolve("mnv2"))


@pytest.mark.shared
def test_yolox_nano_finds_the_demo_people_in_place() -> None:
    path = SHARED / "peers" / "yolox-nano.onnx"
    if not path.is_file():
        pytest.skip("no peers beside this checkout")
    from slimpose import geometry
    from slimpose.media.images import read_image
    from slimpose.runtime.crops import letterbox

    photos = Path(__file__).parents[2] / "examples" / "photos"
    labels = coco.read(SHARED / "data" / "demo" / "person_keypoints.json", keypoints=False)
    teacher = open_box_teacher(path)
    found = total = 0
    for image_id, people in labels.people_by_image().items():
        photo = photos / labels.images[image_id].file_name
        if not photo.is_file():
            continue
        canvas, to_canvas = letterbox(read_image(photo), Size(320, 320))
        boxes, scores = (output[0] for output in teacher.detect(canvas[None]))
        sure = boxes[scores > 0.3].astype(np.float32)
        tall = [
            person.box_image
            for person in people
            if np.ptp(person.box_image[1::2]) > 96 and not person.is_crowd
        ]
        corners = np.array(tall, np.float32).reshape(1, -1, 2)
        truth = geometry.transform_points(to_canvas, corners).reshape(-1, 4)
        found += int((geometry.box_iou(truth, sure) > 0.6).any(axis=1).sum())
        total += len(truth)
    assert total >= 10
    assert found >= 0.8 * total
