"""Heatmap encoding (unbiased Gaussian targets) and DARK decoding in NumPy.

``network/dark.py`` has the same decoding as part of the exported graph; this is its reference.

DARK (Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR
2020) smooths a heatmap with a Gaussian, takes its logarithm near the maximum, where a Gaussian is
an exact quadratic, and moves to that quadratic's maximum by finite differences. Two changes here:
the quadratic is the least-squares fit to 5x5 cells; and only those cells are smoothed, along each
axis by a kernel that is truncated symmetrically at the map's border. So smoothing never pulls a
point inwards: encoded points decode correctly up to the border. docs/experiments/2026-11.md
("what decoding is worth") has the gain of each change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from slimpose.arrays import Covariances, Crops, Heatmaps, Points, Scores, Size
from slimpose.skeleton import Skeleton

WINDOW = 5
LOG_FLOOR = 1e-3
"""Cells below this fraction of the maximum are raised to it: noise near 0 cannot bend the fit."""
MAX_SHIFT_CELLS = 1.0
BLUR_SIGMA_CELLS = 2.0
BLUR_RADIUS = 5


class Decoded(NamedTuple):
    """Decoded points in heatmap cells, their scores 0..1 and covariances in square cells."""

    points_heatmap: Points
    scores: Scores
    covariances_heatmap: Covariances


def flip_averaged(
    predict_heatmaps: Callable[[Crops], Heatmaps], skeleton: Skeleton, *, shift: bool = False
) -> Callable[[Crops], Heatmaps]:
    """Add flip test: average the heatmaps of each crop and of its mirror image.

    Args:
        predict_heatmaps: The model, from crops to heatmaps.
        skeleton: Supplies the left-right partners.
        shift: Whether to move the mirrored maps one cell to the right first.

    Raises:
        ValueError: If a joint's name has a side and no partner.
    """
    skeleton.check_mirroring()

    def average(crops: Crops) -> Heatmaps:
        mirrored = predict_heatmaps(np.ascontiguousarray(crops[:, :, ::-1]))[
            :, skeleton.flip_indices, :, ::-1
        ]
        if shift:
            mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=3)
        return (predict_heatmaps(crops) + mirrored) / 2

    return average


def encode(points_heatmap: Points, size: Size, *, sigma_px: float) -> Heatmaps:
    """Draw Gaussian heatmaps (n, joints, height, width) with peak 1, centered at the exact points.

    >>> points = np.array([[[5.25, 7.0]]], np.float32)
    >>> maps = encode(points, Size(height=16, width=12), sigma_px=2.0)
    >>> decode(maps).points_heatmap.round(2).tolist()
    [[[5.25, 7.0]]]

    Args:
        points_heatmap: x, y in heatmap cells; of a point outside, the Gaussian's tail is drawn.
        size: The heatmap's size.
        sigma_px: The Gaussian's standard deviation in heatmap cells.
    """
    variance = 2 * sigma_px**2
    along_x = np.exp(
        -((np.arange(size.width, dtype=np.float32) - points_heatmap[..., :1]) ** 2) / variance
    )
    along_y = np.exp(
        -((np.arange(size.height, dtype=np.float32) - points_heatmap[..., 1:]) ** 2) / variance
    )
    return (along_y[..., :, None] * along_x[..., None, :]).astype(np.float32)


def quadratic_fit_matrix() -> Float64[np.ndarray, "25 5"]:
    """Return the least-squares fit of a quadratic to 5x5 cells as a matrix.

    It maps 25 cells (row by row) to the gradient x, y and the Hessian xx, xy, yy at their center.

    The columns follow from least squares on the orthogonal polynomials 1, x, y, x^2-2, xy, y^2-2
    over {-2..2}^2.
    """
    y, x = np.mgrid[-2:3, -2:3].reshape(2, -1).astype(np.float64)
    return np.stack([x / 50, y / 50, (x * x - 2) / 35, x * y / 100, (y * y - 2) / 35], axis=1)


def blur_kernels() -> Float64[np.ndarray, "radii 5 15"]:
    """Return, for each radius 0..BLUR_RADIUS, the matrix from 15 cells to 5 smoothed window cells.

    Each is a Gaussian truncated at that radius; radius 0 does not smooth.
    """
    kernels = []
    for radius in range(BLUR_RADIUS + 1):
        steps = np.arange(-radius, radius + 1)
        kernel = np.exp(-(steps**2) / (2 * BLUR_SIGMA_CELLS**2))
        kernel /= kernel.sum()
        matrix = np.zeros((WINDOW, WINDOW + 2 * BLUR_RADIUS))
        for cell in range(WINDOW):
            matrix[cell, cell + BLUR_RADIUS + steps] = kernel
        kernels.append(matrix)
    return np.stack(kernels)


class _Quadratic(NamedTuple):
    """A quadratic's derivatives at the window's center, and whether it has a maximum.

    Where it has none, ``determinant`` is 1, so that dividing by it is safe.
    """

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    has_maximum: np.ndarray
    determinant: np.ndarray


def _fit(window: Float32[np.ndarray, "n joints 25"]) -> _Quadratic:
    """Fit a quadratic to the logarithm of each window."""
    peak = np.maximum(window.max(axis=2, keepdims=True), 1e-12)
    log_window = np.log(np.maximum(window, peak * LOG_FLOOR) / peak)
    x, y, xx, xy, yy = np.moveaxis(log_window @ _FIT, -1, 0)
    determinant = xx * yy - xy * xy
    has_top = (xx < -1e-4) & (yy < -1e-4) & (determinant > 1e-6)
    return _Quadratic(x, y, xx, xy, yy, has_top, np.where(has_top, determinant, 1.0))


_FIT = quadratic_fit_matrix().astype(np.float32)
_KERNELS = blur_kernels().astype(np.float32)


def decode(heatmaps: Heatmaps) -> Decoded:
    """Locate each heatmap's maximum with sub-cell precision (DARK).

    The score is the highest cell. The covariance is minus the inverse Hessian of the log-heatmap,
    which for a Gaussian heatmap is the Gaussian's covariance. Where the neighborhood has no maximum
    (flat, a ridge, a saddle) the point stays on the highest cell, and the covariance is that of a
    uniform distribution over the map.

    Raises:
        ValueError: If the maps are smaller than 5x5.
    """
    n, joints, height, width = heatmaps.shape
    if height < WINDOW or width < WINDOW:
        raise ValueError(
            f"heatmaps are {height}x{width}; expected at least {WINDOW}x{WINDOW} cells"
        )
    flat = heatmaps.reshape(n, joints, height * width)
    if not np.isfinite(flat).all():  # done always, it would take half of the total time
        flat = np.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
    peak_index = flat.argmax(axis=2)
    peak = np.take_along_axis(flat, peak_index[..., None], axis=2)
    peak_y, peak_x = np.divmod(peak_index, width)
    center_x, center_y = peak_x.clip(2, width - 3), peak_y.clip(2, height - 3)

    # The kernel's radius: as far as the map extends on both sides of the window.
    radius_x = np.minimum(BLUR_RADIUS, np.minimum(center_x, width - 1 - center_x) - 2)
    radius_y = np.minimum(BLUR_RADIUS, np.minimum(center_y, height - 1 - center_y) - 2)
    offsets = np.arange(-2 - BLUR_RADIUS, 3 + BLUR_RADIUS)
    patch_x = (center_x[..., None] + offsets).clip(0, width - 1)
    patch_y = (center_y[..., None] + offsets).clip(0, height - 1)
    side = len(offsets)
    cells = (patch_y[..., :, None] * width + patch_x[..., None, :]).reshape(n, joints, side**2)
    patch = np.take_along_axis(flat, cells, axis=2).reshape(n, joints, side, side)
    smoothed = _KERNELS[radius_y] @ patch @ _KERNELS[radius_x].swapaxes(2, 3)
    fit = _fit(smoothed.reshape(n, joints, WINDOW**2))
    x = center_x - (fit.yy * fit.x - fit.xy * fit.y) / fit.determinant
    y = center_y - (fit.xx * fit.y - fit.xy * fit.x) / fit.determinant
    x = np.where(fit.has_maximum, x, peak_x).clip(
        peak_x - MAX_SHIFT_CELLS, peak_x + MAX_SHIFT_CELLS
    )
    y = np.where(fit.has_maximum, y, peak_y).clip(
        peak_y - MAX_SHIFT_CELLS, peak_y + MAX_SHIFT_CELLS
    )

    # The covariance comes from the unsmoothed cells, because smoothing widens it.
    middle = slice(BLUR_RADIUS, BLUR_RADIUS + WINDOW)
    window = patch[:, :, middle, middle].reshape(n, joints, WINDOW**2)
    covariances = _covariances(_fit(window), width, height)
    points = np.stack([x, y], axis=-1).astype(np.float32)
    return Decoded(points, peak[..., 0].clip(0, 1).astype(np.float32), covariances)


def _covariances(fit: _Quadratic, width: int, height: int) -> Covariances:
    """Minus the inverse Hessian, at most the covariance of a uniform distribution over the map."""
    max_xx, max_yy = width**2 / 12.0, height**2 / 12.0
    xx = np.where(fit.has_maximum, -fit.yy / fit.determinant, max_xx)
    yy = np.where(fit.has_maximum, -fit.xx / fit.determinant, max_yy)
    xy = np.where(fit.has_maximum, fit.xy / fit.determinant, 0.0)
    scale = np.minimum(1.0, np.minimum(max_xx / xx, max_yy / yy))
    covariances = np.stack([xx, xy, xy, yy], axis=-1).reshape(*xx.shape, 2, 2)
    return (scale[..., None, None] * covariances).astype(np.float32)
