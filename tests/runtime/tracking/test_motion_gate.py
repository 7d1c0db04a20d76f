"""Change in a picture that nobody accounts for."""

from __future__ import annotations

import numpy as np
import pytest

from slimpose.arrays import Size
from slimpose.runtime.tracking.motion_gate import MotionGate

NOBODY = np.zeros((0, 4), np.float32)
SIZES = [Size(240, 320), Size(1080, 1920), Size(45, 60)]


def street(size: Size, *, seed: int = 0) -> np.ndarray:
    """A picture with some texture and a little noise of its own."""
    texture = np.random.default_rng(7).integers(60, 160, (24, 32), np.uint8)
    image = np.kron(texture, np.ones((size.height // 24 + 1, size.width // 32 + 1), np.uint8))[
        : size.height, : size.width
    ]
    noise = np.random.default_rng(seed).integers(-4, 5, image.shape)
    return np.repeat(np.clip(image + noise, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def with_person(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Somebody dark, a quarter of the picture's height tall, whose middle is at x, y (shares of the picture)."""
    image, (height, width) = image.copy(), image.shape[:2]
    top, left = int((y - 0.125) * height), int(x * width - 0.04 * height)
    image[max(0, top) : top + height // 4, max(0, left) : left + max(2, height // 12)] = 10
    return image


def box_of(size: Size, x: float, y: float) -> np.ndarray:
    w, h = 0.04 * size.height, 0.125 * size.height
    return np.array(
        [[x * size.width - w, y * size.height - h, x * size.width + w, y * size.height + h]],
        np.float32,
    )


def looked(image: np.ndarray, boxes: np.ndarray = NOBODY) -> MotionGate:
    watch = MotionGate()
    watch.has_unexplained_motion(image, boxes)
    watch.detector_ran(image, boxes, 0.0)
    return watch


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_noise_alone_is_no_change(size: Size) -> None:
    watch = looked(street(size))
    assert not any(
        watch.has_unexplained_motion(street(size, seed=seed), NOBODY) for seed in range(1, 6)
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("x", [0.03, 0.5])
def test_somebody_who_comes_in_is_noticed_at_the_border_and_elsewhere(size: Size, x: float) -> None:
    watch = looked(street(size))
    assert watch.has_unexplained_motion(with_person(street(size, seed=1), x, 0.6), NOBODY)


def test_somebody_known_is_not_noticed_wherever_they_walk_to() -> None:
    size = SIZES[0]
    watch = looked(with_person(street(size), 0.2, 0.5), box_of(size, 0.2, 0.5))
    for step in range(1, 20):
        x = 0.2 + 0.02 * step
        assert not watch.has_unexplained_motion(
            with_person(street(size, seed=step), x, 0.5), box_of(size, x, 0.5)
        )


def test_somebody_else_is_noticed_beside_somebody_known() -> None:
    size = SIZES[0]
    watch = looked(with_person(street(size), 0.2, 0.5), box_of(size, 0.2, 0.5))
    both = with_person(with_person(street(size), 0.2, 0.5), 0.7, 0.5)
    assert watch.has_unexplained_motion(both, box_of(size, 0.2, 0.5))


def test_light_that_changes_over_the_whole_picture_is_no_change() -> None:
    size = SIZES[0]
    watch = looked(street(size))
    assert not watch.has_unexplained_motion(
        np.clip(street(size).astype(int) + 25, 0, 255).astype(np.uint8), NOBODY
    )


def test_leaves_that_move_where_the_detector_found_nobody_are_got_used_to_and_people_there_forgotten_in_time() -> (
    None
):
    size = SIZES[0]
    still, moved = street(size), with_person(street(size), 0.5, 0.5)
    watch = looked(still)
    noticed = []
    for look in range(40):
        image = moved if look % 2 == 0 else still
        noticed.append(watch.has_unexplained_motion(image, NOBODY))
        if noticed[-1]:
            watch.detector_ran(image, NOBODY, 0.5 * (look + 1))
    assert noticed[0]
    assert sum(noticed) <= 3
    for at_s in (
        120.0,
        240.0,
    ):  # two minutes after the leaves fell still it is as if they had never moved
        watch.has_unexplained_motion(still, NOBODY)
        watch.detector_ran(still, NOBODY, at_s)
    assert watch.has_unexplained_motion(moved, NOBODY)


def test_before_the_detector_has_looked_nothing_is_a_change() -> None:
    watch = MotionGate()
    assert not watch.has_unexplained_motion(street(SIZES[0]), NOBODY)
    assert not watch.has_unexplained_motion(with_person(street(SIZES[0]), 0.5, 0.5), NOBODY)
