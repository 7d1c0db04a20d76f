"""Reading pictures: every kind OpenCV knows, as RGB uint8, turned upright, or one clear error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image

MAX_PIXELS = 256_000_000
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"})


class ImageError(ValueError):
    """A picture that cannot be read; the message names it and says why."""


def read_image(path: Path) -> Image:
    """Read a picture as RGB uint8 (height, width, 3).

    Grey becomes RGB, 16 bits become 8, transparency is dropped, EXIF rotation is applied.

    Raises:
        ImageError: If there is no such file, or it holds no picture that OpenCV can decode.
    """
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    return decode_image(path.read_bytes(), name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode a picture from memory; see ``read_image``.

    Raises:
        ImageError: If the bytes hold no picture that OpenCV can decode.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # 8 bits, EXIF rotation applied
    except cv2.error as error:
        raise ImageError(f"{name}: not a picture OpenCV can decode: {error.err or error}") from error
    if bgr is None:
        raise ImageError(f"{name}: not a picture OpenCV can decode (truncated, or another kind of file?)")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
