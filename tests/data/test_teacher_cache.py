from __future__ import annotations

import dataclasses
from pathlib import Path

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


def cut_with(dot: np.ndarray) -> Image:
    image = np.zeros((140, 100, 3), np.uint8)
    cv2.circle(image, (round(float(dot[0])), round(float(dot[1]))), 5, (255, 255, 255), -1)
    image[:, :4, 2] = 100  # tells left from right
    return image


@pytest.fixture(scope="module")
def people() -> TrainingPeople:
    return TrainingPeople(
        stored_crops=StoredCrops([cut_with(dot) for dot in DOTS]),
        boxes_stored=np.tile(np.array([10, 20, 80, 120], np.float32), (4, 1)),
        points_stored=np.repeat(DOTS[:, None], 17, axis=1),
        weights=np.ones((4, 17), np.float32),
        sources=[""] * 4,
        skeleton=COCO17,
    )


def bright_places(crops: Crops) -> Heatmaps:
    """A teacher that takes the white dot for every joint."""
    red = crops[..., 0].astype(np.float32) / 255
    maps = red.reshape(len(red), red.shape[1] // 4, 4, red.shape[2] // 4, 4).mean(axis=(2, 4))
    return np.repeat(maps[:, None], 17, axis=1)


def test_two_hills_are_found_the_higher_first() -> None:
    points = np.array([[[10.3, 12.6]], [[30.0, 40.2]]], np.float32)
    hills = heatmap.encode(points, Size(64, 48), sigma_px=2.0)
    peaks = highest_peaks(0.4 * hills[:1] + 0.9 * hills[1:])
    np.testing.assert_allclose(peaks[0, 0], [[30, 40.2, 0.9], [10.3, 12.6, 0.4]], atol=0.1)


def test_what_lies_within_three_deviations_is_the_same_hill() -> None:
    points = np.array([[[20.0, 20.0]], [[24.0, 20.0]]], np.float32)
    hills = heatmap.encode(points, Size(64, 48), sigma_px=2.0)
    peaks = highest_peaks(np.maximum(hills[:1], 0.8 * hills[1:]))
    assert peaks[0, 0, 1, 2] < 0.6


def test_the_teacher_is_shown_everybody_and_points_lie_in_their_cuts(
    people: TrainingPeople,
) -> None:
    told: list[tuple[int, int]] = []
    peaks = cache_teacher_peaks(
        people,
        [0, 1, 2, 3],
        bright_places,
        size=SIZE,
        batch=3,
        on_progress=lambda *done: told.append(done),
    )
    assert peaks.shape == (4, 17, 2, 3)
    np.testing.assert_allclose(peaks[:, :, 0, :2], people.points_stored, atol=0.7)
    assert told == [(3, 4), (4, 4)]


def test_a_share_of_the_people_is_theirs_alone(people: TrainingPeople) -> None:
    of_all = cache_teacher_peaks(people, [0, 1, 2, 3], bright_places, size=SIZE)
    np.testing.assert_array_equal(
        cache_teacher_peaks(people, [1, 3], bright_places, size=SIZE), of_all[[1, 3]]
    )
    assert cache_teacher_peaks(people, [], bright_places, size=SIZE).shape == (0, 17, 2, 3)


def test_a_mirrored_view_is_turned_back_left_for_right(people: TrainingPeople) -> None:
    left, right = COCO17.joints.index("left_wrist"), COCO17.joints.index("right_wrist")

    def sides(crops: Crops) -> Heatmaps:
        maps = bright_places(crops)
        is_mirrored = crops[0, 64, :8, 2].mean() < crops[0, 64, -8:, 2].mean()
        maps[:, right if is_mirrored else left] *= 0.5
        return maps

    plain, seen = (
        cache_teacher_peaks(people, [0], teacher, size=SIZE)[0, :, 0, 2]
        for teacher in (bright_places, sides)
    )
    np.testing.assert_allclose(seen[left], 0.5 * plain[left], rtol=1e-3)
    np.testing.assert_allclose(seen[right], plain[right], rtol=1e-3)


@given(position=st.integers(0, 200))
def test_in_every_augmented_crop_the_taught_hill_is_on_the_labeled_joint(
    people: TrainingPeople, position: int
) -> None:
    peaks = np.zeros((4, 17, 2, 3), np.float32)
    peaks[:, :, 0, :2], peaks[:, :, 0, 2] = people.points_stored, 0.7
    batches = PoseBatches(
        people=people,
        order=SampleOrder(np.ones(4), seed=0),
        stride=4,
        sigma_share=1 / 32,
        seed=3,
        cached_peaks=peaks,
    )
    batch = batches.batch(position, 1, SIZE, Augmentation())
    assert batch.teacher_heatmaps is not None
    np.testing.assert_allclose(batch.teacher_heatmaps, 0.7 * batch.heatmaps, atol=1e-5)


def test_where_the_picture_is_made_to_end_nothing_is_taught(people: TrainingPeople) -> None:
    peaks = np.ones((4, 17, 2, 3), np.float32)
    peaks[:, :, 0, :2], peaks[:, :, 1, :2] = (12, 25), (78, 118)  # opposite corners of the box
    half = dataclasses.replace(
        people,
        points_stored=np.zeros((4, 17, 2), np.float32),
        weights=np.zeros((4, 17), np.float32),
    )
    half.points_stored[:], half.weights[:, :5] = (45, 70), 1
    batches = PoseBatches(
        people=half,
        order=SampleOrder(np.ones(4), seed=0),
        stride=4,
        sigma_share=1 / 32,
        seed=0,
        cached_peaks=peaks,
    )
    plain = Augmentation().scaled(0.0)
    whole, ended = (
        batches.batch(0, 40, SIZE, dataclasses.replace(plain, truncate=border)).teacher_heatmaps
        for border in (0.0, 1.0)
    )
    assert whole is not None
    assert ended is not None
    counts = [
        [cv2.connectedComponents((map_ > 0.5).astype(np.uint8))[0] - 1 for map_ in maps[:, 0]]
        for maps in (whole, ended)
    ]
    assert set(counts[0]) == {2}
    assert set(counts[1]) == {1, 2}  # the labeled joint in the middle sometimes stops the line
    assert np.mean(np.array(counts[1]) == 1) > 0.5


def test_lower_hills_do_not_dig_into_higher_ones() -> None:
    peaks = np.array([[[[21.5, 21.5, 0.9], [29.5, 21.5, 0.3]]]], np.float32)
    identity = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    drawn = draw_peaks(peaks, identity, Size(64, 48), stride=4, sigma_px=2.0)
    assert drawn.shape == (1, 1, 16, 12)
    assert drawn.max() == pytest.approx(0.9, abs=1e-5)


# kept


def test_what_was_seen_is_kept_and_asked_for_once(people: TrainingPeople, tmp_path: Path) -> None:
    from slimpose.train import distillation

    asked = 0

    def counting(crops: Crops) -> Heatmaps:
        nonlocal asked
        asked += 1
        return bright_places(crops)

    teacher = distillation.Teacher(
        name="one", runs_on="NumPy", skeleton=COCO17, stride=4, heatmaps_of=counting
    )
    cache = tmp_path / "run" / distillation.TEACHER_CACHE
    first = distillation.cached_teacher(people, teacher, size=SIZE, cache=cache)
    assert asked == 2  # one batch, plain and mirrored
    np.testing.assert_array_equal(
        distillation.cached_teacher(people, teacher, size=SIZE, cache=cache), first
    )
    assert asked == 2
    assert cache.stat().st_size < 24 * 17 * len(people) + 600
    moved = dataclasses.replace(people, boxes_stored=people.boxes_stored + 1)
    other = dataclasses.replace(teacher, name="two")
    for changed in ((people, other, SIZE), (people, teacher, Size(64, 64)), (moved, teacher, SIZE)):
        asked = 0
        distillation.cached_teacher(changed[0], changed[1], size=changed[2], cache=cache)
        assert asked == 2
