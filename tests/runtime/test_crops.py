"""Crops of large people: shrinking first keeps every pixel in its place and does not alias.

And a detector's canvas.
"""

from __future__ import annotations

import numpy as np
import pytest

from slimpose import geometry
from slimpose.arrays import Size
from slimpose.runtime.crops import crop_people, fit_canvas

SIZE = Size(64, 48)


def box_of_scale(scale: float) -> np.ndarray:
    """Return a box in the middle of a 400x400 image, ``scale`` image pixels to a crop pixel."""
    half = scale * np.array([SIZE.width, SIZE.height]) / geometry.BOX_PADDING / 2
    return np.concatenate([200 - half, 200 + half]).astype(np.float32)[None]


@pytest.mark.parametrize("scale", [0.7, 1.2, 1.6, 2.4, 3.4])
def test_crop_pixels_show_their_place_in_the_image(scale: float) -> None:
    row = np.arange(400) // 2
    ramp = np.stack(
        [np.tile(row, (400, 1)), np.tile(row[:, None], (1, 400)), np.zeros((400, 400))], axis=2
    )
    (crop,), (to_crop,) = crop_people(ramp.astype(np.uint8), box_of_scale(scale), SIZE)
    assert 1 / to_crop[0, 0] == pytest.approx(scale, rel=1e-3)
    x_image = (np.arange(SIZE.width) - to_crop[0, 2]) / to_crop[0, 0]
    y_image = (np.arange(SIZE.height) - to_crop[1, 2]) / to_crop[1, 1]
    np.testing.assert_allclose(crop[SIZE.height // 2, :, 0], x_image / 2 - 0.25, atol=1.1)
    np.testing.assert_allclose(crop[:, SIZE.width // 2, 1], y_image / 2 - 0.25, atol=1.1)


@pytest.mark.parametrize("scale", [1.6, 1.9, 2.0, 2.4])
def test_stripes_too_fine_for_the_crop_turn_gray(scale: float) -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    (crop,), _ = crop_people(stripes, box_of_scale(scale), SIZE)
    assert np.abs(crop.astype(int) - 128).max() <= 2


def test_stretched_image_fills_the_canvas_and_maps_back() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[20:, 60:] = 255
    canvas, to_canvas = fit_canvas(image, Size(64, 64), "stretch")
    assert (canvas[36:, 52:] > 250).all()
    assert (canvas[:28] < 5).all()
    corner = geometry.transform_points(
        to_canvas, np.array([[[-0.5, -0.5], [79.5, 39.5]]], np.float32)
    )
    np.testing.assert_allclose(corner[0], [[-0.5, -0.5], [63.5, 63.5]], atol=1e-4)
