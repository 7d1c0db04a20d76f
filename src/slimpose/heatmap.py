"""Heatmaps: unbiased Gaussian targets, and DARK decoding in NumPy (the reference of the in-graph twin).

DARK (Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR
2020) smooths a heatmap with a Gaussian, takes its logarithm near the maximum, where a Gaussian is
an exact quadratic, and jumps to that quadratic's top by finite differences. Two changes: the
quadratic is the least-squares fit to 5x5 cells; and only those cells are smoothed, along each axis
by a kernel that is cut, evenly on both sides, where the map ends. So smoothing never pulls a point
inwards: encoded points come back up to the border. docs/experiments.md has what each change gives.
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
"""Cells under this share of the maximum count as this share: noise near zero cannot bend the quadratic."""
MAX_SHIFT_CELLS = 1.0
BLUR_SIGMA_CELLS = 2.0
BLUR_RADIUS = 5


class Decoded(NamedTuple):
    """Points in heatmap cells, their scores 0..1 and covariances in square cells."""

    points_heatmap: Points
    scores: Scores
    covariances_heatmap: Covariances


def flip_averaged(
    heatmaps_of: Callable[[Crops], Heatmaps], skeleton: Skeleton, *, shift: bool = False
) -> Callable[[Crops], Heatmaps]:
    """Return the function whose heatmaps are the mean of a crop's and of the mirrored crop's, mirrored back.

    With ``shift``, the mirrored maps are moved one cell to the right first.
    """

    def mean_of_both(crops: Crops) -> Heatmaps:
        mirrored = heatmaps_of(np.ascontiguousarray(crops[:, :, ::-1]))[
            :, skeleton.flip_indices, :, ::-1
        ]
        if shift:
            mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=3)
        return (heatmaps_of(crops) + mirrored) / 2

    return mean_of_both


def encode(points_heatmap: Points, size: Size, *, sigma_px: float) -> Heatmaps:
    """Return Gaussian heatmaps (n, joints, height, width) with their tops at the exact points, peak 1.

    Args:
        points_heatmap: x, y in heatmap cells; a point outside leaves its Gaussian's tail inside.
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
    """Return the matrix from 25 cells (row by row) to gradient x, y and Hessian xx, xy, yy at their center.

    The columns follow from least squares on the orthogonal polynomials 1, x, y, x^2-2, xy, y^2-2
    over {-2..2}^2.
    """
    y, x = np.mgrid[-2:3, -2:3].reshape(2, -1).astype(np.float64)
    return np.stack([x / 50, y / 50, (x * x - 2) / 35, x * y / 100, (y * y - 2) / 35], axis=1)


def blur_kernels() -> Float64[np.ndarray, "radii 5 15"]:
    """Return, for each radius 0..BLUR_RADIUS, the matrix that smooths a window's 5 cells out of 15.

    Each is a Gaussian cut at that radius; radius 0 smooths nothing.
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
    """A quadratic's derivatives at its window's center, whether it has a top, and a determinant safe to divide by."""

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    has_top: np.ndarray
    determinant: np.ndarray


def _fit(window: Float32[np.ndarray, "n joints 25"]) -> _Quadratic:
    """Fit a quadratic to the logarithm of windows."""
    top = np.maximum(window.max(axis=2, keepdims=True), 1e-12)
    x, y, xx, xy, yy = np.moveaxis(np.log(np.maximum(window, top * LOG_FLOOR) / top) @ _FIT, -1, 0)
    determinant = xx * yy - xy * xy
    has_top = (xx < -1e-4) & (yy < -1e-4) & (determinant > 1e-6)
    return _Quadratic(x, y, xx, xy, yy, has_top, np.where(has_top, determinant, 1.0))


_FIT = quadratic_fit_matrix().astype(np.float32)
_KERNELS = blur_kernels().astype(np.float32)


def decode(heatmaps: Heatmaps) -> Decoded:
    """Return the sub-cell maxima of heatmaps.

    The covariance is minus the inverse Hessian of the log-heatmap: for a Gaussian heatmap, its own.
    Where the neighborhood has no top (flat, a ridge, a saddle) the point stays on the maximum's
    cell, and the covariance is that of "anywhere in the map".

    Raises:
        ValueError: If the maps are smaller than 5x5.
    """
    n, joints, height, width = heatmaps.shape
    if height < WINDOW or width < WINDOW:
        raise ValueError(
            f"heatmaps are {height}x{width}; expected at least {WINDOW}x{WINDOW} cells"
        )
    flat = heatmaps.reshape(n, joints, height * width)
    if not np.isfinite(flat).all():  # half of the whole time, if it were done unasked
        flat = np.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
    peak_index = flat.argmax(axis=2)
    peak = np.take_along_axis(flat, peak_index[..., None], axis=2)
    peak_y, peak_x = np.divmod(peak_index, width)
    center_x, center_y = peak_x.clip(2, width - 3), peak_y.clip(2, height - 3)

    # The kernel's radius: as far as the map goes on both sides of the whole window.
    radius_x = np.minimum(BLUR_RADIUS, np.minimum(center_x, width - 1 - center_x) - 2)
    radius_y = np.minimum(BLUR_RADIUS, np.minimum(center_y, height - 1 - center_y) - 2)
    around = np.arange(-2 - BLUR_RADIUS, 3 + BLUR_RADIUS)
    patch_x = (center_x[..., None] + around).clip(0, width - 1)
    patch_y = (center_y[..., None] + around).clip(0, height - 1)
    cells = (patch_y[..., :, None] * width + patch_x[..., None, :]).reshape(
        n, joints, len(around) ** 2
    )
    patch = np.take_along_axis(flat, cells, axis=2).reshape(n, joints, len(around), len(around))
    smooth = _fit(
        (_KERNELS[radius_y] @ patch @ _KERNELS[radius_x].swapaxes(2, 3)).reshape(
            n, joints, WINDOW**2
        )
    )
    top_x = center_x - (smooth.yy * smooth.x - smooth.xy * smooth.y) / smooth.determinant
    top_y = center_y - (smooth.xx * smooth.y - smooth.xy * smooth.x) / smooth.determinant
    top_x = np.where(smooth.has_top, top_x, peak_x).clip(
        peak_x - MAX_SHIFT_CELLS, peak_x + MAX_SHIFT_CELLS
    )
    top_y = np.where(smooth.has_top, top_y, peak_y).clip(
        peak_y - MAX_SHIFT_CELLS, peak_y + MAX_SHIFT_CELLS
    )

    # The spread is read off the cells as they are: smoothing widens it. Never wider than uniform
    # over the map.
    middle = slice(BLUR_RADIUS, BLUR_RADIUS + WINDOW)
    raw = _fit(patch[:, :, middle, middle].reshape(n, joints, WINDOW**2))
    widest_x, widest_y = width**2 / 12.0, height**2 / 12.0
    spread_x = np.where(raw.has_top, -raw.yy / raw.determinant, widest_x)
    spread_y = np.where(raw.has_top, -raw.xx / raw.determinant, widest_y)
    across = np.where(raw.has_top, raw.xy / raw.determinant, 0.0)
    share = np.minimum(1.0, np.minimum(widest_x / spread_x, widest_y / spread_y))
    covariances = np.stack([spread_x, across, across, spread_y], axis=-1).reshape(n, joints, 2, 2)
    covariances = (share[..., None, None] * covariances).astype(np.float32)
    points = np.stack([top_x, top_y], axis=-1).astype(np.float32)
    return Decoded(points, peak[..., 0].clip(0, 1).astype(np.float32), covariances)
