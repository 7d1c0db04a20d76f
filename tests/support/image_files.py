"""Image data for tests of reading files."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose.arrays import Image


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    """Return the bytes of an image file."""
    is_encoded, data = cv2.imencode(suffix, image, list(options))
    assert is_encoded
    return data.tobytes()


def find_dot(image: Image) -> np.ndarray:
    """Return x, y of the center of the bright pixels of the first channel."""
    weight = image[..., 0].astype(np.float64)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def noise(height: int = 40, width: int = 60) -> Image:
    """Return an image of random pixels, always the same."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
