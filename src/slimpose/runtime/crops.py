"""People cut out of images for the pose net: one crop a box, batched."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose import geometry
from slimpose.arrays import Affines, Boxes, Crops, Image, Size

_MAX_SIDE_PX = 32_766
"""OpenCV's warpAffine counts source pixels in 16 bits."""


def crop_people(
    image: Image, boxes_image: Boxes, crop_size: Size, *, out: Crops | None = None
) -> tuple[Crops, Affines]:
    """Return one crop a box, and the affines from image to crop pixels.

    What lies outside the image is black. Where a person is 1.5 times the crop's size or more, the
    surroundings are first shrunk by the nearest whole factor (area mean), as training pictures
    were: bilinear sampling alone aliases. ``out`` takes the crops if given.

    Raises:
        ValueError: If a box has no area.
    """
    affines = geometry.crop_affines(boxes_image, crop_size)
    crops = np.empty((len(boxes_image), *crop_size, 3), np.uint8) if out is None else out
    for crop, affine in zip(crops, affines, strict=True):
        factor = max(1, round(1 / float(affine[0, 0])))
        whole = factor == 1 and max(image.shape[:2]) <= _MAX_SIDE_PX
        source, to_crop = (image, affine) if whole else _shrunk(image, affine, crop_size, factor)
        cv2.warpAffine(
            source, to_crop, (crop_size.width, crop_size.height), dst=crop, flags=cv2.INTER_LINEAR
        )
    return crops, affines


def _shrunk(
    image: Image, affine: np.ndarray, crop_size: Size, factor: int
) -> tuple[Image, np.ndarray]:
    """The part of the image that the crop shows, a whole factor smaller, and the affine from there."""
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
