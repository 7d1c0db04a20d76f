"""Drawings of poses over their image in notebooks, without keeping the image in memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.draw import draw_poses
from slimpose.media.image_inputs import Color, ImageInput, is_pil, load_image
from slimpose.media.images import ImageError
from slimpose.poses import NOT_TRACKED, Poses

_MAX_SIDE_PX = 1024


class ImagePreview:
    """Draws poses over the image that they were found in, as long as it exists.

    A file is read again, if it has not changed. Of arrays and PIL images there are only weak
    references: poses never keep an image in memory.

    Args:
        pixels: The image that the poses were estimated in.
        source: What it was read from.
        color: Of an array.
    """

    __slots__ = ("_load", "_pixels")

    def __init__(
        self, pixels: Image, source: ImageInput | None = None, color: Color = "rgb"
    ) -> None:
        self._pixels = weakref.ref(pixels)
        self._load = _loader(source, color)

    def png(self, poses: Poses) -> bytes | None:
        """Return the poses drawn over the image, of at most 1024 pixels on a side, as PNG."""
        pixels = self._pixels()
        if pixels is None and self._load is not None:
            pixels = self._load()
        if pixels is None:
            return None
        drawn = draw_poses(pixels, poses, ids=bool((poses.ids != NOT_TRACKED).any()))
        size = Size(*drawn.shape[:2])
        scale = _MAX_SIDE_PX / max(size)
        if scale < 1:
            width, height = (max(1, round(scale * side)) for side in (size.width, size.height))
            drawn = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copies in other processes are None: the image is not there."""
        return type(None), ()


def _loader(source: Any, color: Color) -> Callable[[], Image | None] | None:
    """Return what reads the image again, and returns None if that is not possible any more."""
    if isinstance(source, np.ndarray) or is_pil(source):
        reference = weakref.ref(source)

        def load() -> Image | None:
            image = reference()
            return None if image is None else load_image(image, color=color)

        return load
    if not isinstance(source, str | os.PathLike) or (version := _version(source)) is None:
        return None
    path = Path(source).absolute()

    def read() -> Image | None:
        try:
            return load_image(path) if _version(path) == version else None
        except ImageError:
            return None

    return read


def _version(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Size and time of a file; None if there is none."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
