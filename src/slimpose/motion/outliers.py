"""Outliers of a motion: a Hampel filter that knows motion and covariance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from slimpose.motion.trajectory import Motion

_THRESHOLD = 5.0
"""In standard deviations of the residuals around a sample."""
_WINDOW = 15
"""Samples around one whose residuals are its scale."""
_REACH = 3
"""Neighbors on each side that predict a sample; runs of up to 3 outliers are found."""
_SMALLEST_SCALE = 0.0025
"""Of the person's size: residuals under it are no noise but rounding."""
_MAX_RELATIVE_VARIANCE = 16.0
_ROUNDS = 20
_MEDIAN_OF_UNIT_RAYLEIGH = 1.1774
_LEAST_SAMPLES = 2 * _REACH + 1


def find_outliers(
    motion: Motion, found: Bool[np.ndarray, "n joints"]
) -> Bool[np.ndarray, "n joints"]:
    """Return which keypoints are far from where their neighbors in time expect them.

    A sample is predicted by straight lines between its neighbors 1, 2 and 3 samples before and
    after; the median of the three is compared. So fast motion is no outlier. The residuals are
    divided by the sample's standard deviation relative to the keypoint's usual one, if it is
    higher, and compared with their median over 15 samples and over the motion, whichever is larger
    (a Hampel filter).
    The largest ones are removed first, because they disturb the predictions of their neighbors.

    Args:
        motion: The motion.
        found: Which keypoints are there; the others are ignored.
    """
    size = _size_px(motion.points_image, found)
    outliers = np.zeros_like(found)
    for joint in range(found.shape[1]):
        rows = np.flatnonzero(found[:, joint])
        for _ in range(_ROUNDS):
            if len(rows) < _LEAST_SAMPLES:
                break
            is_outlier = _largest_outliers(
                motion.times_s[rows],
                motion.points_image[rows, joint],
                motion.covariances_image[rows, joint],
                size,
            )
            if not is_outlier.any():
                break
            outliers[rows[is_outlier], joint] = True
            rows = rows[~is_outlier]
    return outliers


def _largest_outliers(
    times_s: Float64[np.ndarray, " n"],
    points: Float64[np.ndarray, "n 2"],
    covariances: Float64[np.ndarray, "n 2 2"],
    size_px: float,
) -> Bool[np.ndarray, " n"]:
    """Return the outliers whose residual is the largest among their neighbors."""
    from scipy.ndimage import maximum_filter1d, median_filter

    residuals = points - _predictions(times_s, points)
    variances = np.trace(covariances, axis1=1, axis2=2) / 2
    relative = np.clip(variances / np.median(variances), 1, _MAX_RELATIVE_VARIANCE)
    distances = np.linalg.norm(residuals, axis=1) / np.sqrt(relative)
    around = median_filter(distances, size=min(_WINDOW, len(distances)), mode="mirror")
    scale = np.maximum(around, np.median(distances)) / _MEDIAN_OF_UNIT_RAYLEIGH
    scale = np.maximum(scale, _SMALLEST_SCALE * size_px)
    is_largest = distances == maximum_filter1d(distances, 2 * _REACH + 1, mode="mirror")
    return is_largest & (distances > _THRESHOLD * scale)


def _predictions(
    times_s: Float64[np.ndarray, " n"], points: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "n 2"]:
    """Return where neighbors expect each sample; the first and last are extrapolated."""
    n = len(times_s)
    predictions = np.full((_REACH, n, 2), np.nan)

    def line(at: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        share = (times_s[at] - times_s[first]) / (times_s[second] - times_s[first])
        return points[first] + share[:, None] * (points[second] - points[first])

    for reach in range(1, _REACH + 1):
        inner = np.arange(reach, n - reach)
        predictions[reach - 1, inner] = line(inner, inner - reach, inner + reach)
        ends, step = np.array([0, n - 1]), np.array([1, -1])
        first = ends + step * (1 if reach < _REACH else 2)
        predictions[reach - 1, ends] = line(ends, first, ends + step * min(reach + 1, _REACH))
    return np.nanmedian(predictions, axis=0)


def _size_px(
    points: Float64[np.ndarray, "n joints 2"], found: Bool[np.ndarray, "n joints"]
) -> float:
    """Return the usual extent of the person in pixels: the larger one of width and height."""
    present = np.where(found[..., None], points, np.nan)[found.any(axis=1)]
    if not len(present):
        return 1.0
    extents = np.nanmax(present, axis=1) - np.nanmin(present, axis=1)
    return max(1.0, float(np.median(extents.max(axis=1))))
