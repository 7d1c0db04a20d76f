"""Motion of a person: shift and scale between two poses, and a Kalman filter of the velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64

# Sizes below are fractions of the person's size, the square root of the box area.
_MEASUREMENT_NOISE = 0.02
"""Standard deviation of a pose's position from frame to frame, in sizes."""
_PROCESS_NOISE = 1.0
"""Standard deviation of the change of velocity within a second, in sizes per second."""
_INITIAL_VELOCITY_NOISE = 1.5
"""Standard deviation of the velocity of a new person, in sizes per second."""
_COAST_TIME_S = 2.0
"""Time constant with which the expected velocity of an unobserved person falls."""
_MIN_DEVIATION, _MAX_DEVIATION = 0.05, 1.0
"""Limits of the standard deviation of an expected position, in sizes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShiftScale:
    """A shift of the center and a scale about it: x -> to_image + scale * (x - from_image)."""

    from_image: Float32[np.ndarray, "2"]
    to_image: Float32[np.ndarray, "2"]
    scale: float

    def move_points(self, points_image: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 2"]:
        """Return the moved points."""
        return (self.to_image + self.scale * (points_image - self.from_image)).astype(np.float32)

    def move_box(self, box_image: Float32[np.ndarray, "4"]) -> Float32[np.ndarray, "4"]:
        """Return the moved box."""
        return self.move_points(box_image.reshape(2, 2)).reshape(4)


def fit_shift_scale(
    points_from: Float32[np.ndarray, "joints 2"],
    points_to: Float32[np.ndarray, "joints 2"],
    weights: Float32[np.ndarray, " joints"],
) -> ShiftScale:
    """Return the shift and scale that best map one pose to the other (weighted least squares).

    If all weights are 0, nothing moves. The scale is limited to 0.8..1.25.
    """
    total = float(weights.sum())
    if total <= 1e-6:
        center = points_from.mean(axis=0).astype(np.float32)
        return ShiftScale(from_image=center, to_image=center, scale=1.0)
    weight = (weights / total)[:, None]
    center_from, center_to = (weight * points_from).sum(axis=0), (weight * points_to).sum(axis=0)
    offsets_from, offsets_to = points_from - center_from, points_to - center_to
    variance = float((weight * offsets_from**2).sum())
    covariance = float((weight * offsets_from * offsets_to).sum())
    scale = covariance / variance if variance > 1e-6 else 1.0
    return ShiftScale(
        from_image=center_from.astype(np.float32),
        to_image=center_to.astype(np.float32),
        scale=min(1.25, max(0.8, scale)),
    )


@dataclass(slots=True, kw_only=True)
class MotionModel:
    """Kalman filter of a person's velocity (random walk), which extrapolates the position.

    The scale is not extrapolated: in a larger box the estimated pose becomes a little larger, which
    would enlarge the box again, and so on.

    Attributes:
        size_px: Square root of the person's box area, the unit of all noise.
        velocity: x, y in pixels per second.
    """

    size_px: float
    velocity: Float64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    _variance: float = _INITIAL_VELOCITY_NOISE**2  # of the velocity, in square sizes

    def update(self, motion: ShiftScale, elapsed_s: float, size_px: float) -> None:
        """Update the velocity with the observed motion of the last ``elapsed_s`` seconds."""
        self.size_px = size_px
        self._variance += _PROCESS_NOISE**2 * elapsed_s
        gain = self._variance / (self._variance + 2 * (_MEASUREMENT_NOISE / elapsed_s) ** 2)
        shift = (motion.to_image - motion.from_image).astype(np.float64)
        self.velocity = self.velocity + gain * (shift / elapsed_s - self.velocity)
        self._variance *= 1 - gain

    def expected_shift(self, elapsed_s: float) -> Float32[np.ndarray, "2"]:
        """Return the expected shift ``elapsed_s`` seconds after the last update."""
        effective_s = _COAST_TIME_S * (1 - math.exp(-elapsed_s / _COAST_TIME_S))
        return (self.velocity * effective_s).astype(np.float32)

    def position_variance(self, elapsed_s: float) -> float:
        """Return the variance of the expected position along each axis, in square pixels."""
        drift = self._variance * elapsed_s**2 + _PROCESS_NOISE**2 * elapsed_s**3 / 3
        return min(_MAX_DEVIATION**2, _MIN_DEVIATION**2 + drift) * self.size_px**2
