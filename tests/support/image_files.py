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


def noise(height: int = 40, width: int = 60) -> Image:
    """Return an image of random pixels, always the same."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
