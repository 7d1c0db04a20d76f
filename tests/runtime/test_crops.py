"""Crops of large people: what is shrunk first stays in its place and does not alias."""

from __future__ import annotations

import numpy as np
import pytest

from slimpose import geometry
from slimpose.arrays import Size
from slimpose.runtime.crops import crop_people

SIZE = Size(64, 48)


def box_of(times: float) -> np.ndarray:
    """A box in the middle of a picture of 400x400 whose crop shows so many times the crop's pixels."""
    half = times * np.array([SIZE.width, SIZE.height]) / geometry.BOX_PADDING / 2
    return np.concatenate([200 - half, 200 + half]).astype(np.float32)[None]


@pytest.mark.parametrize("times", [0.7, 1.2, 1.6, 2.4, 3.4])
def test_every_pixel_shows_its_place_in_the_picture(times: float) -> None:
    row = np.arange(400) // 2
    ramp = np.stack(
        [np.tile(row, (400, 1)), np.tile(row[:, None], (1, 400)), np.zeros((400, 400))], axis=2
    )
    (crop,), (to_crop,) = crop_people(ramp.astype(np.uint8), box_of(times), SIZE)
    assert 1 / to_crop[0, 0] == pytest.approx(times, rel=1e-3)
    x_image = (np.arange(SIZE.width) - to_crop[0, 2]) / to_crop[0, 0]
    y_image = (np.arange(SIZE.height) - to_crop[1, 2]) / to_crop[1, 1]
    np.testing.assert_allclose(crop[SIZE.height // 2, :, 0], x_image / 2 - 0.25, atol=1.1)
    np.testing.assert_allclose(crop[:, SIZE.width // 2, 1], y_image / 2 - 0.25, atol=1.1)


@pytest.mark.parametrize("times", [1.6, 1.9, 2.0, 2.4])
def test_stripes_too_fine_for_the_crop_turn_gray(times: float) -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    (crop,), _ = crop_people(stripes, box_of(times), SIZE)
    assert np.abs(crop.astype(int) - 128).max() <= 2
