from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from coco_documents import coco_document
from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.detector_batches import (
    DetectorBatches,
    TrainingImage,
    load_images,
    load_unlabeled,
)
from slimpose.data.order import SampleOrder
from slimpose.formats import coco

NO_AUGMENTATION = dataclasses.replace(Augmentation().scaled(0.0), flip=0.0)


def training_image(
    level: int, boxes: list[list[float]], *, is_crowd: bool = False, is_labeled: bool = True
) -> TrainingImage:
    return TrainingImage(
        stored=np.full((64, 64, 3), level, np.uint8),
        boxes_image=np.array(boxes, np.float32).reshape(-1, 4),
        is_crowd=np.full(len(boxes), is_crowd),
        source="",
        is_labeled=is_labeled,
    )


def batches_of(*images: TrainingImage, repeats: float = 1.0, seed: int = 0) -> DetectorBatches:
    order = SampleOrder(np.full(len(images), repeats), seed=seed)
    return DetectorBatches(images=list(images), order=order, stride=8, fit="letterbox", seed=seed)


def test_boxes_are_clipped_to_the_image() -> None:
    batches = batches_of(training_image(200, [[8, 16, 40, 64]]))
    batch = batches.batch(0, 1, Size(64, 64), NO_AUGMENTATION)
    np.testing.assert_allclose(batch.boxes[0], [[8, 16, 40, 63.5]], atol=0.6)
    assert batch.label_mask.all()


def test_flip_moves_the_box_with_the_image() -> None:
    batches = batches_of(training_image(200, [[8, 16, 24, 48]]))
    flipped = dataclasses.replace(NO_AUGMENTATION, flip=1.0)
    batch = batches.batch(0, 1, Size(64, 64), flipped)
    np.testing.assert_allclose(batch.boxes[0], [[39, 16, 55, 48]], atol=0.6)


def test_cells_in_a_crowd_are_masked() -> None:
    batches = batches_of(training_image(200, [[0, 0, 32, 32]], is_crowd=True))
    batch = batches.batch(0, 1, Size(64, 64), NO_AUGMENTATION)
    assert batch.boxes[0].shape == (0, 4)
    assert (batch.label_mask[0, :4, :4] == 0).all()
    assert (batch.label_mask[0, 6:] == 1).all()


def test_unlabeled_images_are_masked() -> None:
    batches = batches_of(training_image(90, [], is_labeled=False))
    batch = batches.batch(0, 2, Size(64, 64), NO_AUGMENTATION)
    assert [len(people) for people in batch.boxes] == [0, 0]
    assert not batch.label_mask.any()


def test_mosaic_contains_four_images_with_their_people_in_place() -> None:
    images = [training_image(level, [[10, 10, 50, 50]]) for level in (40, 80, 160, 240)]
    mosaics = dataclasses.replace(NO_AUGMENTATION, mosaic=1.0)
    batches = DetectorBatches(
        images=images,
        order=SampleOrder(np.ones(4), seed=1),
        stride=8,
        fit="letterbox",
        seed=3,
    )
    batch = batches.batch(0, 6, Size(128, 128), mosaics)
    for image, people in zip(batch.images, batch.boxes, strict=True):
        assert len(people) == 4
        for x1, y1, x2, y2 in people:
            inside = image[int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)]
            assert len(np.unique(inside)) == 1  # no box reaches into the next image


def test_images_of_a_mosaic_are_of_the_same_epoch() -> None:
    """With fractional repeats the others of a mosaic are not always the first epoch's."""
    batches = batches_of(*(training_image(number, []) for number in range(100)), repeats=0.1)
    order, mosaics = batches.order, dataclasses.replace(NO_AUGMENTATION, mosaic=1.0)
    for position in (0, 57):
        epoch = {order.at(position - position % 10 + other) for other in range(10)}
        image = batches.batch(position, 1, Size(64, 64), mosaics).images
        levels = {int(level) for level in np.unique(image)}
        assert len(epoch) == 10
        assert len(levels & epoch) > 1
        assert levels <= {*epoch, 114}  # 114: the canvas around an image of another shape


def test_unlabeled_images_are_compressed_if_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 120, 3), 50 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    raw_bytes = 3 * 3 * 0.75 * 60**2  # as many labeled ones may follow
    for memory, kind in ((2 * int(raw_bytes) + 1, np.ndarray), (2 * int(raw_bytes) - 1, bytes)):
        monkeypatch.setattr(
            "slimpose.data.detector_batches.available_memory_bytes", lambda memory=memory: memory
        )
        images = load_unlabeled(tmp_path, largest_side=60)
        assert [type(image.stored) for image in images] == [kind] * 3
        assert [image.image().shape for image in images] == [(30, 60, 3)] * 3
        assert [int(image.image().mean()) for image in images] == pytest.approx([0, 50, 100], abs=1)
    with pytest.raises(NotADirectoryError, match="no image folder"):
        load_unlabeled(tmp_path / "none", largest_side=60)


def test_labeled_images_have_the_declared_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), np.zeros((24, 32, 3), np.uint8))
    annotations = coco.parse(coco_document(), Path("boxes.json"), keypoints=False)
    with pytest.raises(ValueError, match="is declared 64 wide and 48 high; the file is 32 wide"):
        load_images(annotations, tmp_path, largest_side=64)


def test_empty_boxes_are_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), np.zeros((48, 64, 3), np.uint8))
    document = coco_document()
    (one,) = document["annotations"]
    document["annotations"].append(one | {"id": 71, "bbox": [5, 5, 0, 9]})
    annotations = coco.parse(document, Path("boxes.json"), keypoints=False, areas=False)
    (image,) = load_images(annotations, tmp_path, largest_side=64)
    assert image.boxes_image.tolist() == [[10, 8, 40, 40]]


def test_stretched_images_fill_the_canvas() -> None:
    wide = TrainingImage(
        stored=np.full((64, 128, 3), 200, np.uint8),
        boxes_image=np.array([[32, 16, 96, 48]], np.float32),
        is_crowd=np.zeros(1, bool),
        source="test",
    )
    order = SampleOrder(np.ones(1), seed=1)
    batches = DetectorBatches(images=[wide], order=order, stride=8, fit="stretch", seed=0)
    batch = batches.batch(0, 1, Size(96, 96), NO_AUGMENTATION)
    assert (batch.images[0, 1:-1, 1:-1] == 200).all()
    np.testing.assert_allclose(batch.boxes[0], [[23.875, 24.25, 71.875, 72.25]], atol=1e-3)
