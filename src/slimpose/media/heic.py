"""HEIC images, which phones write, by the extra ``heic`` (pillow-heif)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from slimpose.arrays import Image


class NoHeicDecoderError(ValueError):
    """pillow-heif is not installed."""


def open_heic(data: bytes) -> Any:
    """Return the main image of a HEIC file in memory, not yet decoded; it has a ``size``.

    Raises:
        NoHeicDecoderError: If pillow-heif is not installed.
        ValueError: If it is damaged; OSError, RuntimeError, EOFError and SyntaxError too.
    """
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise NoHeicDecoderError(
            "a HEIC image, which needs the extra heic (pip install pillow-heif)"
        ) from error
    return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)


def decode(opened: Any) -> Image:
    """Return the pixels, turned upright as the file says; errors as above."""
    return np.ascontiguousarray(opened.to_pillow().convert("RGB"))
