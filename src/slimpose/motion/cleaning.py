"""Gaps filled, outliers removed, noise smoothed without delay, at a uniform rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from slimpose.messages import quoted
from slimpose.motion.outliers import find_outliers
from slimpose.motion.trajectory import MIN_FRAMES, Motion, frame_numbers

Filter = Literal["spline", "butterworth", "none"]
_MAX_JITTER = 0.05
"""Times that deviate by less of an interval from a uniform grid are uniform."""
_MAX_SAMPLES = 2_000_000
_WEIGHTS = (1 / 16, 16.0)
"""Limits of a sample's weight relative to its keypoint's usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSettings:
    """How gaps, outliers and noise are removed.

    Attributes:
        filter: spline: a smoothing spline weighted by covariance; butterworth: 4th order, forwards
            and backwards, as Sports2D's; none: only gaps and outliers.
        cutoff_hz: Cutoff frequency of the filter, which halves it (-6 dB). The spline has a lower
            one for samples whose covariance is larger than the keypoint's median.
        max_gap_s: Fill gaps up to this length in seconds; longer ones stay empty.
        outliers: Remove outliers.
        keypoint_threshold: Keypoints with lower scores 0..1 are missing.
        rate_hz: Rate of the result; by default that of the frames.

    Raises:
        ValueError: If a value is out of range.
    """

    filter: Filter = "spline"
    cutoff_hz: float = 6.0
    max_gap_s: float = 0.3
    outliers: bool = True
    keypoint_threshold: float = 0.2
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        for name in ("cutoff_hz", "rate_hz"):
            value = getattr(self, name)
            if value is not None and not (0 < value <= 1e4):
                raise ValueError(f"{name} is {value:g}; expected Hz, over 0 and at most 10000")
        if not 0 <= self.max_gap_s < math.inf:
            raise ValueError(f"max_gap_s is {self.max_gap_s:g}; expected seconds, 0 or more")
        if not 0 <= self.keypoint_threshold <= 1:
            raise ValueError(
                f"keypoint_threshold is {self.keypoint_threshold:g}; expected a number 0..1"
            )
        if self.filter not in ("spline", "butterworth", "none"):
            raise ValueError(
                f"filter is {quoted(self.filter)}; expected spline, butterworth or none"
            )


DEFAULT_CLEANING = CleanSettings()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CleanMotion:
    """The keypoints of one person at a uniform rate.

    Attributes:
        name: The person and the source, for messages.
        joints: The names of the keypoints.
        rate_hz: Samples per second.
        times_s: (n,) uniform, in the time of the source.
        points_image: (n, joints, 2) x, y in image pixels; nan where a gap is left.
        outliers: Number of keypoints that were removed as outliers.
        filled: Number of keypoints in gaps that were filled.
        resampling: What was resampled, in words; empty if the times are those of the frames.
    """

    name: str
    joints: tuple[str, ...]
    rate_hz: float
    times_s: Float64[np.ndarray, " n"]
    points_image: Float64[np.ndarray, "n joints 2"]
    outliers: int = 0
    filled: int = 0
    resampling: str = ""

    @property
    def gaps(self) -> list[tuple[str, float, float]]:
        """The gaps that are left: a keypoint, the first and the last time without it."""
        found: list[tuple[str, float, float]] = []
        for joint, name in enumerate(self.joints):
            missing = np.isnan(self.points_image[:, joint, 0]).astype(np.int8)
            edges = np.diff(missing, prepend=0, append=0)
            starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
            found += [
                (name, float(self.times_s[first]), float(self.times_s[last]))
                for first, last in zip(starts, ends, strict=True)
            ]
        return found


def clean(motion: Motion, settings: CleanSettings = DEFAULT_CLEANING) -> CleanMotion:
    """Return a motion with outliers removed, gaps filled and noise smoothed, at a uniform rate.

    Each keypoint is smoothed on its own, between gaps longer than ``max_gap_s``; pieces of less
    than 5 frames between such gaps are left out.

    Raises:
        ValueError: If the motion is too short, or the cutoff is not below half of the rate.
        ModuleNotFoundError: If SciPy is not installed.
    """
    times_s, rate_hz, resampling = _uniform_times(motion, settings.rate_hz)
    if settings.filter == "butterworth" and not settings.cutoff_hz < rate_hz / 2:
        raise ValueError(
            f"cutoff_hz is {settings.cutoff_hz:g} at {rate_hz:g} Hz; expected less than half of "
            "the rate (or the filter spline)"
        )
    found = motion.scores >= settings.keypoint_threshold
    outliers = find_outliers(motion, found) if settings.outliers else np.zeros_like(found)
    used = found & ~outliers
    points = np.full((len(times_s), len(motion.joints), 2), np.nan)
    for joint in range(len(motion.joints)):
        for rows in _pieces(motion.times_s, used[:, joint], settings.max_gap_s):
            inside = _between(times_s, motion.times_s[rows], 1 / rate_hz)
            points[inside, joint] = _smoothed(motion, joint, rows, times_s[inside], settings)
    if not np.isfinite(points).any():
        raise ValueError(
            f"{motion.name}: no keypoint is seen in {MIN_FRAMES} frames without gaps over "
            f"{settings.max_gap_s:g} s; expected some (longer max_gap_s, lower keypoint_threshold?)"
        )
    has_sample = np.zeros(points.shape[:2], bool)
    nearest = np.clip(np.rint((motion.times_s - times_s[0]) * rate_hz), 0, len(times_s) - 1)
    np.logical_or.at(has_sample, nearest.astype(int), used)
    return CleanMotion(
        name=motion.name,
        joints=motion.joints,
        rate_hz=rate_hz,
        times_s=times_s,
        points_image=points,
        outliers=int(outliers.sum()),
        filled=int((np.isfinite(points[..., 0]) & ~has_sample).sum()),
        resampling=resampling,
    )


def _uniform_times(
    motion: Motion, rate_hz: float | None
) -> tuple[Float64[np.ndarray, " n"], float, str]:
    """Return uniform times from the first to the last frame, their rate, and what was resampled.

    Where the frames are uniform but for missing ones, the times are theirs.
    """
    times_s = motion.times_s
    if (count := len(times_s)) < MIN_FRAMES:
        raise ValueError(f"{motion.name} is in {count} frames; expected {MIN_FRAMES} or more")
    intervals = np.diff(times_s)
    numbers = frame_numbers(times_s, float(np.median(intervals)))
    interval_s, start_s = np.polyfit(numbers, times_s - times_s[0], 1)
    jitter = np.abs(times_s - times_s[0] - start_s - interval_s * numbers).max() / interval_s
    is_uniform = jitter <= _MAX_JITTER
    own_rate = float(1 / interval_s if is_uniform else 1 / np.median(intervals))
    own_rate = round(own_rate) if abs(own_rate - round(own_rate)) < 1e-3 else own_rate
    rate = float(rate_hz or own_rate)
    length = (times_s[-1] - times_s[0]) * rate
    if length > _MAX_SAMPLES:
        raise ValueError(
            f"{motion.name} lasts {times_s[-1] - times_s[0]:g} s, {length:.3g} samples at "
            f"{rate:g} Hz; expected at most {_MAX_SAMPLES} (a part of it, or a lower rate_hz)"
        )
    grid = times_s[0] + np.arange(math.floor(length + _MAX_JITTER) + 1) / rate
    note = ""
    if not is_uniform:
        note = (
            f"times are irregular ({intervals.min():.3g} to {intervals.max():.3g} s between "
            f"frames): resampled to {rate:g} Hz"
        )
    elif rate_hz is not None and abs(rate_hz - own_rate) > 1e-6 * own_rate:
        note = f"resampled from {own_rate:g} to {rate:g} Hz"
    return grid, rate, note


def _pieces(
    times_s: Float64[np.ndarray, " n"], used: Bool[np.ndarray, " n"], max_gap_s: float
) -> list[Int64[np.ndarray, " m"]]:
    """Return the samples of a keypoint between long gaps, in pieces that can be smoothed.

    The interval between two frames is no gap, however low the frame rate is.
    """
    rows = np.flatnonzero(used)
    longest_s = max(max_gap_s, 1.5 * float(np.median(np.diff(times_s)))) + 1e-9
    breaks = np.flatnonzero(np.diff(times_s[rows]) > longest_s) + 1
    return [piece for piece in np.split(rows, breaks) if len(piece) >= MIN_FRAMES]


def _between(
    grid_s: Float64[np.ndarray, " n"], times_s: Float64[np.ndarray, " m"], interval_s: float
) -> slice:
    """Return the part of the grid from the first to the last sample."""
    margin_s = _MAX_JITTER * interval_s
    return slice(
        int(np.searchsorted(grid_s, times_s[0] - margin_s)),
        int(np.searchsorted(grid_s, times_s[-1] + margin_s, side="right")),
    )


def _smoothed(
    motion: Motion,
    joint: int,
    rows: Int64[np.ndarray, " m"],
    grid_s: Float64[np.ndarray, " n"],
    settings: CleanSettings,
) -> Float64[np.ndarray, "n 2"]:
    """Return a piece of a keypoint at uniform times, filtered."""
    from scipy import interpolate, signal

    times_s, points = motion.times_s[rows], motion.points_image[rows, joint]
    at_s = np.clip(grid_s, times_s[0], times_s[-1])
    if settings.filter == "spline":
        covariances = motion.covariances_image[:, joint]
        return np.stack(
            [
                _spline(
                    times_s,
                    points[:, axis],
                    _weights(covariances[:, axis, axis], rows),
                    settings.cutoff_hz,
                )(at_s)
                for axis in (0, 1)
            ],
            axis=1,
        )
    filled = interpolate.PchipInterpolator(times_s, points)(at_s)
    if settings.filter == "none" or len(grid_s) < MIN_FRAMES:
        return filled
    rate_hz = (len(grid_s) - 1) / (grid_s[-1] - grid_s[0])
    sections = signal.butter(2, settings.cutoff_hz, fs=rate_hz, output="sos")
    padding = min(int(rate_hz / settings.cutoff_hz) + 9, len(filled) - 1)
    return signal.sosfiltfilt(sections, filled, axis=0, padlen=padding)


def _weights(
    variances: Float64[np.ndarray, " n"], rows: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """Return each sample's weight: the keypoint's median variance over its own."""
    return np.clip(np.median(variances) / np.maximum(variances[rows], 1e-9), *_WEIGHTS)


def _spline(
    times_s: Float64[np.ndarray, " m"],
    values: Float64[np.ndarray, " m"],
    weights: Float64[np.ndarray, " m"],
    cutoff_hz: float,
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the cubic smoothing spline that halves the cutoff frequency.

    It minimizes sum w (y - f)^2 + lam integral f''^2. For weights of 1 and an interval dt its
    response is 1 / (1 + lam dt omega^4), that of a Butterworth filter of 2nd order forwards and
    backwards with omega_c^4 = 1 / (lam dt).

    Source:
        Craven and Wahba, "Smoothing Noisy Data with Spline Functions", 1979.
    """
    from scipy.interpolate import make_smoothing_spline

    interval_s = float(np.median(np.diff(times_s)))
    lam = 1 / (interval_s * (2 * math.pi * cutoff_hz) ** 4)
    return make_smoothing_spline(times_s, values, w=weights, lam=lam)
