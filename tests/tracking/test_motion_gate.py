from __future__ import annotations

import numpy as np
import pytest

from slimpose.arrays import Size
from slimpose.tracking.motion_gate import MotionGate

NO_BOXES = np.zeros((0, 4), np.float32)
SIZES = [Size(240, 320), Size(1080, 1920), Size(45, 60)]


def street(size: Size, *, seed: int = 0) -> np.ndarray:
    """An image with some texture, and a little noise that depends on the seed."""
    texture = np.random.default_rng(7).integers(60, 160, (24, 32), np.uint8)
    image = np.kron(texture, np.ones((size.height // 24 + 1, size.width // 32 + 1), np.uint8))[
        : size.height, : size.width
    ]
    noise = np.random.default_rng(seed).integers(-4, 5, image.shape)
    return np.repeat(np.clip(image + noise, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def with_person(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Add a dark person, a quarter of the image height tall, with center x, y (relative)."""
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


def gate_after_detection(image: np.ndarray, boxes: np.ndarray = NO_BOXES) -> MotionGate:
    gate = MotionGate()
    gate.has_unexplained_motion(image, boxes)
    gate.detector_ran(image, boxes, 0.0)
    return gate


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_noise_is_not_motion(size: Size) -> None:
    gate = gate_after_detection(street(size))
    assert not any(
        gate.has_unexplained_motion(street(size, seed=seed), NO_BOXES) for seed in range(1, 6)
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("x", [0.03, 0.5])
def test_new_person_is_motion_at_the_border_and_elsewhere(size: Size, x: float) -> None:
    gate = gate_after_detection(street(size))
    assert gate.has_unexplained_motion(with_person(street(size, seed=1), x, 0.6), NO_BOXES)


def test_known_person_who_walks_is_not_unexplained_motion() -> None:
    size = SIZES[0]
    gate = gate_after_detection(with_person(street(size), 0.2, 0.5), box_of(size, 0.2, 0.5))
    for step in range(1, 20):
        x = 0.2 + 0.02 * step
        assert not gate.has_unexplained_motion(
            with_person(street(size, seed=step), x, 0.5), box_of(size, x, 0.5)
        )


def test_new_person_is_motion_next_to_a_known_person() -> None:
    size = SIZES[0]
    gate = gate_after_detection(with_person(street(size), 0.2, 0.5), box_of(size, 0.2, 0.5))
    both = with_person(with_person(street(size), 0.2, 0.5), 0.7, 0.5)
    assert gate.has_unexplained_motion(both, box_of(size, 0.2, 0.5))


def test_brightness_change_of_the_whole_image_is_not_motion() -> None:
    size = SIZES[0]
    gate = gate_after_detection(street(size))
    brighter = np.clip(street(size).astype(int) + 25, 0, 255).astype(np.uint8)
    assert not gate.has_unexplained_motion(brighter, NO_BOXES)


def test_motion_without_a_person_is_tolerated_for_a_while() -> None:
    size = SIZES[0]
    still, moved = street(size), with_person(street(size), 0.5, 0.5)
    gate = gate_after_detection(still)
    detected = []
    for frame in range(40):
        image = moved if frame % 2 == 0 else still
        detected.append(gate.has_unexplained_motion(image, NO_BOXES))
        if detected[-1]:
            gate.detector_ran(image, NO_BOXES, 0.5 * (frame + 1))
    assert detected[0]
    assert sum(detected) <= 3
    # After two minutes without motion the threshold is the usual one again.
    for at_s in (120.0, 240.0):
        gate.has_unexplained_motion(still, NO_BOXES)
        gate.detector_ran(still, NO_BOXES, at_s)
    assert gate.has_unexplained_motion(moved, NO_BOXES)


def test_nothing_is_motion_before_the_first_detection() -> None:
    gate = MotionGate()
    assert not gate.has_unexplained_motion(street(SIZES[0]), NO_BOXES)
    assert not gate.has_unexplained_motion(with_person(street(SIZES[0]), 0.5, 0.5), NO_BOXES)
