"""Outliers of a motion: a Hampel filter that knows motion and covariance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from slimpose.motion.trajectory import Motion

_THRESHOLD = 4.0
"""In standard deviations of the residuals around a sample."""
_WINDOW = 21
"""Samples around one whose residuals are its scale."""
_REACH = 3
"""Neighbors on each side that predict a sample; runs of up to 3 outliers are found."""
_FARTHEST = 12
"""Frames between the neighbors that predict a sample, at most."""
_BEND = 9
"""Samples whose median residual is the bend of the path."""
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
    after; the median of the three is compared. The median of 9 such residuals, which is the bend of
    the path, is subtracted. The residuals are divided by the sample's standard deviation relative
    to the keypoint's usual one, if it is higher, and compared with their median over 21 samples and
    over the motion, whichever is larger (a Hampel filter), plus the bend. So fast motion is no
    outlier.

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

    interval_s = float(np.median(np.diff(times_s)))
    residuals = points - _predictions(times_s, points, _FARTHEST * interval_s)
    residuals[np.isnan(residuals)] = 0  # too far from others to be judged
    bends = median_filter(residuals, size=(_BEND, 1), mode="mirror")
    residuals[1:-1] -= bends[1:-1]  # the first and the last have others
    variances = np.trace(covariances, axis1=1, axis2=2) / 2
    relative = np.clip(variances / np.median(variances), 1, _MAX_RELATIVE_VARIANCE)
    distances = np.linalg.norm(residuals, axis=1) / np.sqrt(relative)
    around = median_filter(distances, size=_WINDOW, mode="mirror")
    scale = np.maximum(around, np.median(distances)) / _MEDIAN_OF_UNIT_RAYLEIGH
    scale = np.maximum(scale, _SMALLEST_SCALE * size_px)
    is_largest = distances == maximum_filter1d(distances, 2 * _REACH + 1, mode="mirror")
    nearest_s = np.pad(times_s[2:] - times_s[:-2], 1, mode="edge")
    wider = np.clip(nearest_s / (2 * interval_s), 1, 2) ** 2  # next to missing frames
    return is_largest & (distances > _THRESHOLD * scale + wider * np.linalg.norm(bends, axis=1))


def _predictions(
    times_s: Float64[np.ndarray, " n"], points: Float64[np.ndarray, "n 2"], farthest_s: float
) -> Float64[np.ndarray, "n 2"]:
    """Return where neighbors expect each sample; nan where they are too far in time."""
    n = len(times_s)
    predictions = np.full((_REACH, n, 2), np.nan)

    def line(at: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        share = (times_s[at] - times_s[first]) / (times_s[second] - times_s[first])
        values = points[first] + share[:, None] * (points[second] - points[first])
        span_s = np.ptp(times_s[np.stack([at, first, second])], axis=0)
        return np.where((span_s <= farthest_s)[:, None], values, np.nan)

    ends, step = np.array([0, n - 1]), np.array([1, -1])
    for reach in range(1, _REACH + 1):
        inner = np.arange(reach, n - reach)
        predictions[reach - 1, inner] = line(inner, inner - reach, inner + reach)
        near, far = [(1, 2), (1, 3), (2, 3)][reach - 1]
        predictions[reach - 1, ends] = line(ends, ends + near * step, ends + far * step)
    known = np.isfinite(predictions).any(axis=0)
    return np.where(known, np.nanmedian(np.where(known, predictions, 0), axis=0), np.nan)


def _size_px(
    points: Float64[np.ndarray, "n joints 2"], found: Bool[np.ndarray, "n joints"]
) -> float:
    """Return the usual extent of the person in pixels: the larger one of width and height.

    Of a single keypoint it is half of the extent of its path.
    """
    present = np.where(found[..., None], points, np.nan)[found.any(axis=1)]
    if not len(present):
        return 1.0
    extents = np.nanmax(present, axis=1) - np.nanmin(present, axis=1)
    path = np.ptp(np.nanmin(present, axis=1), axis=0)
    return max(1.0, float(np.median(extents.max(axis=1))), float(path.max()) / 2)
