from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps, Image, Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.people import StoredCrops, TrainingPeople
from slimpose.data.pose_batches import PoseBatches
from slimpose.data.teacher_cache import cache_teacher_peaks, draw_peaks, highest_peaks
from slimpose.skeleton import COCO17

SIZE = Size(128, 96)
DOTS = np.array([[30, 40], [50, 90], [62, 55], [25, 100]], np.float32)


def image_with(dot: np.ndarray) -> Image:
    image = np.zeros((140, 100, 3), np.uint8)
    cv2.circle(image, (round(float(dot[0])), round(float(dot[1]))), 5, (255, 255, 255), -1)
    image[:, :4, 2] = 100  # marks the left side
    return image


def batches_of(people: TrainingPeople, peaks: np.ndarray, *, seed: int) -> PoseBatches:
    return PoseBatches(
        people=people,
        order=SampleOrder(np.ones(4), seed=0),
        stride=4,
        sigma_share=1 / 32,
        seed=seed,
        cached_peaks=peaks,
    )


@pytest.fixture(scope="module")
def people() -> TrainingPeople:
    return TrainingPeople(
        stored_crops=StoredCrops([image_with(dot) for dot in DOTS]),
        boxes_stored=np.tile(np.array([10, 20, 80, 120], np.float32), (4, 1)),
        points_stored=np.repeat(DOTS[:, None], 17, axis=1),
        weights=np.ones((4, 17), np.float32),
        sources=[""] * 4,
        skeleton=COCO17,
    )


def predict_dots(crops: Crops) -> Heatmaps:
    """A teacher that predicts the white dot for every joint."""
    red = crops[..., 0].astype(np.float32) / 255
    maps = red.reshape(len(red), red.shape[1] // 4, 4, red.shape[2] // 4, 4).mean(axis=(2, 4))
    return np.repeat(maps[:, None], 17, axis=1)


def test_two_peaks_are_found_highest_first() -> None:
    points = np.array([[[10.3, 12.6]], [[30.0, 40.2]]], np.float32)
    gaussians = heatmap.encode(points, Size(64, 48), sigma_px=2.0)
    peaks = highest_peaks(0.4 * gaussians[:1] + 0.9 * gaussians[1:])
    np.testing.assert_allclose(peaks[0, 0], [[30, 40.2, 0.9], [10.3, 12.6, 0.4]], atol=0.1)


def test_peaks_within_three_sigmas_are_one() -> None:
    points = np.array([[[20.0, 20.0]], [[24.0, 20.0]]], np.float32)
    gaussians = heatmap.encode(points, Size(64, 48), sigma_px=2.0)
    peaks = highest_peaks(np.maximum(gaussians[:1], 0.8 * gaussians[1:]))
    assert peaks[0, 0, 1, 2] < 0.6


def test_peaks_are_in_the_stored_crops_pixels(
    people: TrainingPeople,
) -> None:
    calls: list[tuple[int, int]] = []
    peaks = cache_teacher_peaks(
        people,
        [0, 1, 2, 3],
        predict_dots,
        size=SIZE,
        batch=3,
        on_progress=lambda *done: calls.append(done),
    )
    assert peaks.shape == (4, 17, 2, 3)
    np.testing.assert_allclose(peaks[:, :, 0, :2], people.points_stored, atol=0.7)
    assert calls == [(3, 4), (4, 4)]


def test_peaks_of_some_rows_equal_those_of_all(people: TrainingPeople) -> None:
    all_peaks = cache_teacher_peaks(people, [0, 1, 2, 3], predict_dots, size=SIZE)
    np.testing.assert_array_equal(
        cache_teacher_peaks(people, [1, 3], predict_dots, size=SIZE), all_peaks[[1, 3]]
    )
    assert cache_teacher_peaks(people, [], predict_dots, size=SIZE).shape == (0, 17, 2, 3)


def test_flipped_prediction_is_flipped_back(people: TrainingPeople) -> None:
    left, right = COCO17.joints.index("left_wrist"), COCO17.joints.index("right_wrist")

    def predict_dimmed_left(crops: Crops) -> Heatmaps:
        maps = predict_dots(crops)
        is_mirrored = crops[0, 64, :8, 2].mean() < crops[0, 64, -8:, 2].mean()
        maps[:, right if is_mirrored else left] *= 0.5
        return maps

    plain, dimmed = (
        cache_teacher_peaks(people, [0], teacher, size=SIZE)[0, :, 0, 2]
        for teacher in (predict_dots, predict_dimmed_left)
    )
    np.testing.assert_allclose(dimmed[left], 0.5 * plain[left], rtol=1e-3)
    np.testing.assert_allclose(dimmed[right], plain[right], rtol=1e-3)


@given(position=st.integers(0, 200))
def test_drawn_peak_follows_the_joint_through_augmentation(
    people: TrainingPeople, position: int
) -> None:
    peaks = np.zeros((4, 17, 2, 3), np.float32)
    peaks[:, :, 0, :2], peaks[:, :, 0, 2] = people.points_stored, 0.7
    batches = batches_of(people, peaks, seed=3)
    batch = batches.batch(position, 1, SIZE, Augmentation())
    assert batch.teacher_heatmaps is not None
    np.testing.assert_allclose(batch.teacher_heatmaps, 0.7 * batch.heatmaps, atol=1e-5)


def test_peaks_outside_a_truncated_image_are_dropped(people: TrainingPeople) -> None:
    peaks = np.ones((4, 17, 2, 3), np.float32)
    peaks[:, :, 0, :2], peaks[:, :, 1, :2] = (12, 25), (78, 118)  # opposite corners of the box
    labeled = dataclasses.replace(
        people,
        points_stored=np.zeros((4, 17, 2), np.float32),
        weights=np.zeros((4, 17), np.float32),
    )
    labeled.points_stored[:], labeled.weights[:, :5] = (45, 70), 1
    batches = batches_of(labeled, peaks, seed=0)
    plain = Augmentation().scaled(0.0)
    whole, truncated = (
        batches.batch(
            0, 40, SIZE, dataclasses.replace(plain, truncate=probability)
        ).teacher_heatmaps
        for probability in (0.0, 1.0)
    )
    assert whole is not None
    assert truncated is not None
    counts = [
        [cv2.connectedComponents((map_ > 0.5).astype(np.uint8))[0] - 1 for map_ in maps[:, 0]]
        for maps in (whole, truncated)
    ]
    assert set(counts[0]) == {2}
    assert set(counts[1]) == {1, 2}  # not truncated if the labeled joint would be lost
    assert np.mean(np.array(counts[1]) == 1) > 0.5


def test_lower_peaks_do_not_reduce_higher_ones() -> None:
    peaks = np.array([[[[21.5, 21.5, 0.9], [29.5, 21.5, 0.3]]]], np.float32)
    identity = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    drawn = draw_peaks(peaks, identity, Size(64, 48), stride=4, sigma_px=2.0)
    assert drawn.shape == (1, 1, 16, 12)
    assert drawn.max() == pytest.approx(0.9, abs=1e-5)
