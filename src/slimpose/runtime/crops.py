"""Model inputs from images: a crop per person for the pose model, a canvas for the detector."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose import geometry
from slimpose.arrays import Affines, Boxes, Crops, Image, Size
from slimpose.geometry import CanvasFit

CANVAS_GRAY = 114
_MAX_SIDE_PX = 32_766
"""OpenCV's warpAffine counts source pixels in 16 bits."""


def crop_people(
    image: Image, boxes_image: Boxes, crop_size: Size, *, out: Crops | None = None
) -> tuple[Crops, Affines]:
    """Return one crop (H, W, 3) per box, and the affines (2, 3) from image to crop pixels.

    Pixels outside the image are black. Where a person is 1.5 times the crop's size or more, the
    image is first shrunk by the nearest integer factor (area mean), as in training, because
    bilinear sampling alone aliases.

    Args:
        image: RGB uint8 (height, width, 3).
        boxes_image: x1, y1, x2, y2 in image pixels.
        crop_size: Height and width of the crops.
        out: Array to write the crops to; a new one by default.

    Raises:
        ValueError: If a box has no area.
    """
    affines = geometry.crop_affines(boxes_image, crop_size)
    crops = np.empty((len(boxes_image), *crop_size, 3), np.uint8) if out is None else out
    for crop, affine in zip(crops, affines, strict=True):
        factor = max(1, round(1 / float(affine[0, 0])))
        if factor == 1 and max(image.shape[:2]) <= _MAX_SIDE_PX:
            source, to_crop = image, affine
        else:
            source, to_crop = _shrink(image, affine, crop_size, factor)
        cv2.warpAffine(
            source, to_crop, (crop_size.width, crop_size.height), dst=crop, flags=cv2.INTER_LINEAR
        )
    return crops, affines


def _shrink(
    image: Image, affine: np.ndarray, crop_size: Size, factor: int
) -> tuple[Image, np.ndarray]:
    """Return the crop's part of the image, shrunk, and the affine from it to the crop."""
    scale, height, width = float(affine[0, 0]), *image.shape[:2]
    low = np.floor(-affine[:, 2] / scale - factor)
    high = np.ceil((np.array([crop_size.width, crop_size.height]) - affine[:, 2]) / scale + factor)
    x1, y1 = np.clip(low, 0, (width - 1, height - 1)).astype(int)
    x2, y2 = np.clip(high, (x1 + 1, y1 + 1), (width, height)).astype(int)
    columns, rows = max(1, (x2 - x1) // factor), max(1, (y2 - y1) // factor)
    part = image[y1 : min(y2, y1 + rows * factor), x1 : min(x2, x1 + columns * factor)]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    step_x, step_y = part.shape[1] / columns, part.shape[0] / rows
    to_crop = affine.astype(np.float64)
    to_crop[:, 2] += scale * np.array([x1 + (step_x - 1) / 2, y1 + (step_y - 1) / 2])
    to_crop[0, 0] *= step_x
    to_crop[1, 1] *= step_y
    return small, to_crop


def fit_canvas(
    image: Image, canvas_size: Size, fit: CanvasFit = "letterbox"
) -> tuple[Image, Affines]:
    """Fit an image into a canvas: into a part of a gray one, or stretched over all of it.

    Returns:
        The canvas, and the affine (1, 2, 3) from image to canvas pixels.
    """
    size = Size(*image.shape[:2])
    rows, columns = canvas_size
    if not fit.startswith("stretch"):
        scale = float(geometry.letterbox_affine(size, canvas_size)[0, 0, 0])
        columns = min(columns, max(1, round(size.width * scale)))
        rows = min(rows, max(1, round(size.height * scale)))
    # Sides are rounded to pixels, so the scales differ a little from ``scale``.
    affine = geometry.resize_affine(size, Size(rows, columns))
    shrinks = columns < size.width or rows < size.height
    canvas = np.full((*canvas_size, 3), CANVAS_GRAY, np.uint8)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if fit == "stretch-cubic":
        interpolation = cv2.INTER_CUBIC
    is_centered = fit == "letterbox-center"
    top = (canvas_size.height - rows) // 2 if is_centered else 0
    left = (canvas_size.width - columns) // 2 if is_centered else 0
    affine[0, :, 2] += (left, top)
    canvas[top : top + rows, left : left + columns] = cv2.resize(
        image, (columns, rows), interpolation=interpolation
    )
    return canvas, affine
