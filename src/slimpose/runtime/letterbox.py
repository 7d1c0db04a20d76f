"""A whole image fitted into the detector's canvas: top left, aspect ratio kept, the rest gray."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose import geometry
from slimpose.arrays import Affines, Image, Size

CANVAS_GRAY = 114


def letterbox(image: Image, canvas_size: Size) -> tuple[Image, Affines]:
    """Return the canvas and the one affine (1, 2, 3) from image to canvas pixels."""
    height, width = image.shape[:2]
    scale = geometry.letterbox_affine(Size(height, width), canvas_size)[0, 0, 0]
    columns = min(canvas_size.width, max(1, round(width * float(scale))))
    rows = min(canvas_size.height, max(1, round(height * float(scale))))
    affine = geometry.resize_affine(
        Size(height, width), Size(rows, columns)
    )  # whole pixels: not quite ``scale``
    shrinks = columns < width or rows < height
    canvas = np.full((*canvas_size, 3), CANVAS_GRAY, np.uint8)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    canvas[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=interpolation)
    return canvas, affine
