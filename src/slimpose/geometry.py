"""Coordinate transforms between image, crop and heatmap, and box arithmetic.

One pixel convention everywhere: pixel centers are at integer coordinates, so an image of width W
covers -0.5 .. W-0.5. A crop is centered on (W-1)/2, flipping a crop is x -> W-1-x, and a heatmap
cell covers a square of ``stride`` crop pixels: x_crop = stride * x_heatmap + (stride - 1) / 2.

UDP (Huang et al., "The Devil Is in the Details", CVPR 2020) aligns the corner pixels instead (scale
(W-1)/(w-1)). Both are unbiased under flip and round trip. Only the convention here moves the
heatmap by exactly one cell when the crop moves by one stride, as a convolution does.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32

from slimpose.arrays import Affines, Boxes, Image, Points, Size

CanvasFit = Literal["letterbox", "letterbox-center", "stretch", "stretch-cubic"]
"""How an image fills a detector's input.

With its aspect ratio kept, at the top left or in the center, or stretched over all of it.
"stretch-cubic" interpolates by OpenCV's cubics, which alias, as PaddleDetection does.
"""
CellAlignment = Literal["centers", "multiples", "corners"]
"""Where a network's heatmap cells lie in the crop, at stride s.

- "centers", used here: cell i on s * i + (s - 1) / 2, the middle of its square of pixels;
- "multiples": cell i on s * i, as in the published HRNet and SimpleBaseline, DARK and mmpose's
  ``MSRAHeatmap``;
- "corners": first and last cell on first and last pixel, as in UDP (ViTPose) and mmpose's
  ``UDPHeatmap``.
"""
BOX_PADDING = 1.25
"""Scale of a person's crop relative to the box (SimpleBaseline's value, widely used since)."""
MIN_BOX_PX = 4.0
"""Boxes with a shorter side are dropped: too few pixels for a pose."""


def check_boxes(boxes_image: Boxes) -> None:
    """Check that all boxes are finite and have an area.

    Raises:
        ValueError: If one is not; the message shows the first invalid box.
    """
    valid = np.isfinite(boxes_image).all(axis=1)
    valid &= (boxes_image[:, 2] > boxes_image[:, 0]) & (boxes_image[:, 3] > boxes_image[:, 1])
    if not valid.all():
        x1, y1, x2, y2 = boxes_image[int(np.argmin(valid))]
        raise ValueError(
            f"box has no area: x1={x1:g} y1={y1:g} x2={x2:g} y2={y2:g}; "
            "expected finite x1 < x2 and y1 < y2 in pixels (is it x, y, width, height?)"
        )


def check_boxes_in_image(
    boxes_image: np.ndarray, image: Image, *, min_overlap_px: float = 0.0
) -> None:
    """Check that all boxes have an area and overlap the image by more than ``min_overlap_px``.

    Raises:
        ValueError: If one does not; the message shows the first invalid box.
    """
    if boxes_image.ndim != 2 or boxes_image.shape[1] != 4:
        raise ValueError(
            f"boxes have shape {boxes_image.shape}; expected (n, 4): x1, y1, x2, y2 in pixels"
        )
    check_boxes(boxes_image)
    height, width = image.shape[:2]
    edge = min_overlap_px - 0.5
    outside = (boxes_image[:, :2] >= (width - 1 - edge, height - 1 - edge)) | (
        boxes_image[:, 2:] <= edge
    )
    if outside.any():
        x1, y1, x2, y2 = boxes_image[int(np.argmax(outside.any(axis=1)))]
        raise ValueError(
            f"box lies outside the image: x1={x1:g} y1={y1:g} x2={x2:g} y2={y2:g}, the image is "
            f"{width} wide and {height} high; expected some overlap "
            "(boxes of another image, or of this one at another size?)"
        )


def boxes_to_xywh(boxes_image: Boxes) -> Boxes:
    """Convert boxes x1, y1, x2, y2 to COCO's x, y, width, height.

    >>> boxes_to_xywh(np.array([[10, 20, 40, 60]], np.float32)).tolist()
    [[10.0, 20.0, 30.0, 40.0]]
    """
    return np.concatenate([boxes_image[:, :2], boxes_image[:, 2:] - boxes_image[:, :2]], axis=1)


def crop_affines(boxes_image: Boxes, crop_size: Size, *, padding: float = BOX_PADDING) -> Affines:
    """Return the affine maps from image pixels to crop pixels, one per box.

    Each box is extended to the crop's aspect ratio, then scaled by ``padding`` about its center, so
    the image is never stretched.

    >>> box = np.array([[0, 0, 96, 128]], np.float32)
    >>> crop_affines(box, Size(height=64, width=48), padding=1.0)[0].tolist()
    [[0.5, 0.0, -0.5], [0.0, 0.5, -0.5]]

    Raises:
        ValueError: If a box has no area.

    Source:
        Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section
        3.
    """
    check_boxes(boxes_image)
    extent = (boxes_image[:, 2:] - boxes_image[:, :2]).astype(np.float64)
    scale = np.minimum(crop_size.width / extent[:, 0], crop_size.height / extent[:, 1]) / padding
    center = (boxes_image[:, :2].astype(np.float64) + boxes_image[:, 2:]) / 2
    affines = np.zeros((len(boxes_image), 2, 3))
    affines[:, 0, 0] = affines[:, 1, 1] = scale
    affines[:, 0, 2] = (crop_size.width - 1) / 2 - scale * center[:, 0]
    affines[:, 1, 2] = (crop_size.height - 1) / 2 - scale * center[:, 1]
    return affines.astype(np.float32)


def invert_affines(affines: Affines) -> Affines:
    """Return the inverse of each affine map."""
    square = np.zeros((len(affines), 3, 3))
    square[:, :2] = affines
    square[:, 2, 2] = 1
    return np.linalg.inv(square)[:, :2].astype(np.float32)


def transform_points(affines: Affines, points: Points) -> Points:
    """Apply affine map i to all points of person i."""
    return np.einsum("nij,nkj->nki", affines[:, :, :2], points) + affines[:, None, :, 2]


def transform_covariances(
    affines: Affines, covariances: Float32[np.ndarray, "n joints 2 2"]
) -> Float32[np.ndarray, "n joints 2 2"]:
    """Transform covariances by the linear part A of the affine maps: A C A^T."""
    linear = affines[:, None, :, :2]
    return linear @ covariances @ linear.transpose(0, 1, 3, 2)


def resize_affine(size: Size, resized: Size) -> Affines:
    """Return the affine map (1, 2, 3) from an image's pixels to those of the resized image."""
    x, y = resized.width / size.width, resized.height / size.height
    return np.array([[[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]], np.float32)


def letterbox_affine(image_size: Size, canvas_size: Size) -> Affines:
    """Return the affine map (1, 2, 3) that fits an image into the top left of a canvas.

    The aspect ratio is kept.
    """
    scale = min(canvas_size.height / image_size.height, canvas_size.width / image_size.width)
    # The image's border, not the center of its first pixel, aligns with the canvas's border.
    shift = (scale - 1) / 2
    return np.array([[[scale, 0, shift], [0, scale, shift]]], np.float32)


def heatmap_to_crop(points_heatmap: Points, stride: int) -> Points:
    """Convert points from heatmap cells to crop pixels.

    >>> heatmap_to_crop(np.array([[[0, 1]]], np.float32), 4).tolist()
    [[[1.5, 5.5]]]
    """
    return (points_heatmap * stride + (stride - 1) / 2).astype(np.float32)


def crop_to_heatmap(points_crop: Points, stride: int) -> Points:
    """Convert points from crop pixels to heatmap cells."""
    return ((points_crop - (stride - 1) / 2) / stride).astype(np.float32)


def alignment_matrix(
    cells: int, alignment: CellAlignment, *, stride: int
) -> Float32[np.ndarray, "cells cells"]:
    """Return the matrix that resamples one axis of heatmaps from an alignment to "centers".

    A heatmap is smooth (a standard deviation of 2 cells and more), so it is interpolated by cubics
    between four cells; there are at least 4.

    >>> alignment_matrix(4, "centers", stride=4).tolist() == np.eye(4).tolist()
    True
    """
    index = np.arange(cells, dtype=np.float64)
    pixel = index * stride + (stride - 1) / 2
    place = {
        "centers": index,
        "multiples": pixel / stride,
        "corners": pixel * ((cells - 1) / (cells * stride - 1)),
    }[alignment]
    # At the border, the outermost four cells are extrapolated.
    before = np.floor(place).clip(1, cells - 3)
    t = (place - before)[:, None]
    # Lagrange's weights of the cells before - 1 .. before + 2: exact for cubics.
    weights = (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
    matrix = np.zeros((cells, cells))
    for step, weight in enumerate(weights, start=-1):
        matrix += weight * ((before + step)[:, None] == index)
    return matrix.astype(np.float32)


def box_areas(boxes: Boxes) -> Float32[np.ndarray, " n"]:
    """Return the area of each box in square pixels."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def box_intersections(
    boxes_a: Float32[np.ndarray, "a 4"], boxes_b: Float32[np.ndarray, "b 4"]
) -> Float32[np.ndarray, "a b"]:
    """Return the intersection area of every pair of boxes."""
    low = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    high = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def box_iou(
    boxes_a: Float32[np.ndarray, "a 4"], boxes_b: Float32[np.ndarray, "b 4"]
) -> Float32[np.ndarray, "a b"]:
    """Return the intersection over union of every pair of boxes.

    >>> a, b = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 5, 10, 15]], np.float32)
    >>> box_iou(a, b).round(3).tolist()
    [[0.3330000042915344]]
    """
    intersection = box_intersections(boxes_a, boxes_b)
    union = box_areas(boxes_a)[:, None] + box_areas(boxes_b)[None] - intersection
    return (intersection / np.maximum(union, 1e-9)).astype(np.float32)
