"""Heatmaps: unbiased Gaussian targets, and DARK decoding in NumPy (the reference of the in-graph twin).

DARK (Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020) takes
the logarithm of a heatmap near its maximum, where a Gaussian is an exact quadratic, and jumps to that
quadratic's top. It smooths the map with a Gaussian first and reads the derivatives off finite differences.
Here the quadratic is the least-squares fit to the 5x5 cells about the maximum: the fit is the smoothing, it
is exact for a true Gaussian up to the border (where the window is shifted inside the map), and it saves an
11x11 convolution of every map.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from slimpose.arrays import Covariances, Heatmaps, Points, Scores, Size

WINDOW = 5
LOG_FLOOR = 1e-3
"""Cells under this share of the maximum count as this share: noise near zero cannot bend the quadratic."""
MAX_JUMP_CELLS = 1.0


class Decoded(NamedTuple):
    """Points in heatmap cells, their scores 0..1 and covariances in square cells."""

    points_heatmap: Points
    scores: Scores
    covariances_heatmap: Covariances


def encode(points_heatmap: Points, size: Size, *, sigma_px: float) -> Heatmaps:
    """Return Gaussian heatmaps (n, joints, height, width) with their tops at the exact points, peak 1.

    Args:
        points_heatmap: x, y in heatmap cells; a point outside leaves its Gaussian's tail inside.
        size: The heatmap's size.
        sigma_px: The Gaussian's standard deviation in heatmap cells.
    """
    variance = 2 * sigma_px**2
    along_x = np.exp(-((np.arange(size.width, dtype=np.float32) - points_heatmap[..., :1]) ** 2) / variance)
    along_y = np.exp(-((np.arange(size.height, dtype=np.float32) - points_heatmap[..., 1:]) ** 2) / variance)
    return (along_y[..., :, None] * along_x[..., None, :]).astype(np.float32)


def quadratic_fit_matrix() -> Float64[np.ndarray, "25 5"]:
    """Return the matrix from 25 cells (row by row) to gradient x, y and Hessian xx, xy, yy at their centre.

    The columns follow from least squares on the orthogonal polynomials 1, x, y, x^2-2, xy, y^2-2 over
    {-2..2}^2.
    """
    y, x = np.mgrid[-2:3, -2:3].reshape(2, -1).astype(np.float64)
    return np.stack([x / 50, y / 50, (x * x - 2) / 35, x * y / 100, (y * y - 2) / 35], axis=1)


_FIT = quadratic_fit_matrix().astype(np.float32)


def decode(heatmaps: Heatmaps) -> Decoded:
    """Return the sub-cell maxima of heatmaps.

    The covariance is minus the inverse Hessian of the log-heatmap: for a Gaussian heatmap, its own. Where the
    neighbourhood has no top (flat, a ridge, a saddle) the point stays on the maximum's cell, and the
    covariance is that of "anywhere in the map".

    Raises:
        ValueError: If the maps are smaller than 5x5.
    """
    n, joints, height, width = heatmaps.shape
    if height < WINDOW or width < WINDOW:
        raise ValueError(f"heatmaps are {height}x{width}; expected at least {WINDOW}x{WINDOW} cells")
    flat = np.nan_to_num(heatmaps, nan=0.0, posinf=0.0, neginf=0.0).reshape(n, joints, height * width)
    peak_index = flat.argmax(axis=2)
    peak = np.take_along_axis(flat, peak_index[..., None], axis=2)
    peak_y, peak_x = np.divmod(peak_index, width)
    centre_x, centre_y = peak_x.clip(2, width - 3), peak_y.clip(2, height - 3)

    offsets = (np.arange(-2, 3)[:, None] * width + np.arange(-2, 3)).ravel()
    window = np.take_along_axis(flat, (centre_y * width + centre_x)[..., None] + offsets, axis=2)
    floor = np.maximum(peak * LOG_FLOOR, 1e-12)
    fitted = np.log(np.maximum(window, floor) / np.maximum(peak, 1e-12)) @ _FIT
    gradient_x, gradient_y, xx, xy, yy = np.moveaxis(fitted, -1, 0)

    determinant = xx * yy - xy * xy
    has_top = (xx < -1e-4) & (yy < -1e-4) & (determinant > 1e-6)
    safe = np.where(has_top, determinant, 1.0)
    top_x = centre_x - (yy * gradient_x - xy * gradient_y) / safe
    top_y = centre_y - (xx * gradient_y - xy * gradient_x) / safe
    top_x = np.clip(np.where(has_top, top_x, peak_x), peak_x - MAX_JUMP_CELLS, peak_x + MAX_JUMP_CELLS)
    top_y = np.clip(np.where(has_top, top_y, peak_y), peak_y - MAX_JUMP_CELLS, peak_y + MAX_JUMP_CELLS)

    # Never wider than a uniform distribution over the map: a nearly flat top says no less than nothing.
    widest_x, widest_y = width**2 / 12.0, height**2 / 12.0
    spread_x, spread_y = np.where(has_top, -yy / safe, widest_x), np.where(has_top, -xx / safe, widest_y)
    share = np.minimum(1.0, np.minimum(widest_x / spread_x, widest_y / spread_y))
    covariances = np.empty((n, joints, 2, 2), np.float32)
    covariances[..., 0, 0], covariances[..., 1, 1] = share * spread_x, share * spread_y
    covariances[..., 0, 1] = covariances[..., 1, 0] = share * np.where(has_top, xy / safe, 0.0)
    points = np.stack([top_x, top_y], axis=-1).astype(np.float32)
    return Decoded(points, peak[..., 0].clip(0, 1).astype(np.float32), covariances)
