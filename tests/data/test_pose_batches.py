from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from image_files import find_dot
from slimpose import geometry, heatmap
from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.people import StoredCrops, TrainingPeople
from slimpose.data.pose_batches import PoseBatches
from slimpose.skeleton import COCO17

CROP = Size(height=64, width=48)


@pytest.fixture
def people() -> TrainingPeople:
    """One person whose left eye (joint 1) is a white dot; nothing else is labeled."""
    image = np.zeros((124, 92, 3), np.uint8)
    cv2.circle(image, (46, 40), 3, (255, 255, 255), -1)
    weights, points = np.zeros((1, 17), np.float32), np.zeros((1, 17, 2), np.float32)
    weights[0, 1], points[0, 1] = 1, (46, 40)
    return TrainingPeople(
        stored_crops=StoredCrops([image]),
        boxes_stored=np.array([[18, 17, 74, 107]], np.float32),
        points_stored=points,
        weights=weights,
        sources=[""],
        skeleton=COCO17,
    )


def batches_of(people: TrainingPeople, *, sigma_share: float = 1 / 32) -> PoseBatches:
    return PoseBatches(
        people=people,
        order=SampleOrder(np.ones(len(people)), seed=0),
        stride=4,
        sigma_share=sigma_share,
        seed=0,
    )


GEOMETRY_ONLY = Augmentation(
    color_jitter=0.0, grayscale=0.0, blur=0.0, random_erase=0.0, half_body=0.0
)


def test_flip_swaps_left_and_right_joints(
    people: TrainingPeople,
) -> None:
    always = GEOMETRY_ONLY.scaled(0.0)
    for flip, eye in ((0.0, 1), (1.0, 2)):
        augmentation = dataclasses.replace(always, flip=flip)
        batch = batches_of(people).batch(0, 1, CROP, augmentation)
        assert batch.weights[0].nonzero()[0].tolist() == [eye]
        x, y = find_dot(batch.crops[0])
        row, column = np.unravel_index(batch.heatmaps[0, eye].argmax(), (16, 12))
        assert (4 * column + 1.5, 4 * row + 1.5) == (
            pytest.approx(x, abs=2.2),
            pytest.approx(y, abs=2.2),
        )


def test_targets_follow_their_pixels(people: TrainingPeople) -> None:
    wide = batches_of(people, sigma_share=1 / 8)  # 2 cells, which DARK decodes exactly
    batch = wide.batch(0, 40, CROP, GEOMETRY_ONLY)
    decoded = geometry.heatmap_to_crop(heatmap.decode(batch.heatmaps).points_heatmap, 4)
    checked = 0
    for crop, points, weights in zip(batch.crops, decoded, batch.weights, strict=True):
        for joint in weights.nonzero()[0]:
            if (points[joint] > 8).all() and (
                points[joint] < [CROP.width - 9, CROP.height - 9]
            ).all():
                np.testing.assert_allclose(points[joint], find_dot(crop), atol=0.3)
                checked += 1
    assert checked > 20


def test_joint_outside_the_crop_has_no_weight(people: TrainingPeople) -> None:
    far = dataclasses.replace(GEOMETRY_ONLY.scaled(0.0), shift=3.0)
    batch = batches_of(people).batch(0, 30, CROP, far)
    is_outside = batch.weights.sum(axis=1) == 0
    assert is_outside.any()
    assert (batch.crops[is_outside].max(axis=(1, 2, 3)) < 255).any()


def test_batch_is_a_function_of_its_position(people: TrainingPeople) -> None:
    augmentation = Augmentation()
    batch = batches_of(people).batch(10, 4, CROP, augmentation)
    for row in range(4):
        alone = batches_of(people).batch(10 + row, 1, CROP, augmentation)
        np.testing.assert_array_equal(batch.crops[row], alone.crops[0])
        np.testing.assert_array_equal(batch.heatmaps[row], alone.heatmaps[0])
        np.testing.assert_array_equal(batch.weights[row], alone.weights[0])


def test_mixup_has_no_labels_and_is_a_function_of_its_position(
    people: TrainingPeople,
) -> None:
    augmentation = Augmentation(mixup=0.5)
    mixed, plain = (
        batches_of(people).batch(0, 20, CROP, augmentation),
        batches_of(people).batch(0, 20, CROP, Augmentation()),
    )
    is_mixed = (mixed.crops != plain.crops).any(axis=(1, 2, 3))
    assert 0 < is_mixed.sum() < 20
    assert not mixed.weights[is_mixed].any()
    labeled = mixed.weights.any(axis=1)
    assert labeled.any()
    np.testing.assert_array_equal(mixed.weights[labeled], plain.weights[labeled])
    np.testing.assert_array_equal(
        batches_of(people).batch(7, 1, CROP, augmentation).crops[0], mixed.crops[7]
    )


def test_a_teachers_crops_may_be_larger(people: TrainingPeople) -> None:
    sharp_size = Size(height=128, width=96)
    batches = batches_of(people, sigma_share=1 / 8)
    batch = batches.batch(0, 40, CROP, GEOMETRY_ONLY, sharp_size=sharp_size)
    assert batch.crops.shape == (40, *CROP, 3)
    assert batch.sharp_crops.shape == (40, *sharp_size, 3)
    decoded = geometry.heatmap_to_crop(heatmap.decode(batch.heatmaps).points_heatmap, 4)
    checked = 0
    for small, large, points, weight in zip(
        batch.crops, batch.sharp_crops, decoded, batch.weights, strict=True
    ):
        for joint in weight.nonzero()[0]:
            if ((points[joint] > 8) & (points[joint] < [CROP.width - 9, CROP.height - 9])).all():
                np.testing.assert_allclose(points[joint], find_dot(small), atol=0.3)
                x, y = find_dot(large)
                np.testing.assert_allclose(
                    points[joint], [(x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5], atol=0.3
                )
                checked += 1
    assert checked > 20


def test_teachers_crops_keep_their_resolution(people: TrainingPeople) -> None:
    batch = batches_of(people).batch(0, 20, CROP, Augmentation(low_resolution=0.5))
    plain = batches_of(people).batch(0, 20, CROP, Augmentation())
    np.testing.assert_array_equal(batch.sharp_crops, plain.crops)
    changed = (batch.crops != batch.sharp_crops).any(axis=(1, 2, 3))
    assert 0 < changed.sum() < 20
    np.testing.assert_array_equal(batch.heatmaps, plain.heatmaps)
