"""How a person moves: the rigid part of two poses' difference, and its speed over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64

_MEASURED_NOISE = 0.02
"""Noise of a pose's place from frame to frame, as a fraction of the person's size (the root of the box's area)."""
_UNSTEADINESS = 1.0
"""How fast people change their speed: sizes a second, after a second."""
_FIRST_SPEED = 1.5
"""Spread of the speed of somebody just seen, in sizes a second."""
_COASTING_S = 2.0
"""An unseen person's speed is thought to fall to 1/e in this time."""
_LEAST_SPREAD, _MOST_SPREAD = 0.05, 1.0
"""Of an expected place, in sizes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShiftScale:
    """A shift of the center and a growth about it: x -> to_image + growth * (x - from_image)."""

    from_image: Float32[np.ndarray, "2"]
    to_image: Float32[np.ndarray, "2"]
    scale: float

    def move_points(self, points_image: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 2"]:
        """Return the points moved."""
        return (self.to_image + self.scale * (points_image - self.from_image)).astype(np.float32)

    def move_box(self, box_image: Float32[np.ndarray, "4"]) -> Float32[np.ndarray, "4"]:
        """Return the box moved."""
        return self.move_points(box_image.reshape(2, 2)).reshape(4)


def fit_shift_scale(
    points_from: Float32[np.ndarray, "joints 2"],
    points_to: Float32[np.ndarray, "joints 2"],
    weights: Float32[np.ndarray, " joints"],
) -> ShiftScale:
    """Return the shift and growth that best carry one pose to the other (weighted least squares).

    With no weight at all nothing moves. The growth is kept within a quarter either way.
    """
    total = float(weights.sum())
    if total <= 1e-6:
        middle = points_from.mean(axis=0).astype(np.float32)
        return ShiftScale(from_image=middle, to_image=middle, scale=1.0)
    share = (weights / total)[:, None]
    center_from, center_to = (share * points_from).sum(axis=0), (share * points_to).sum(axis=0)
    arms_from, arms_to = points_from - center_from, points_to - center_to
    spread = float((share * arms_from**2).sum())
    growth = float((share * arms_from * arms_to).sum()) / spread if spread > 1e-6 else 1.0
    return ShiftScale(
        from_image=center_from.astype(np.float32),
        to_image=center_to.astype(np.float32),
        scale=min(1.25, max(0.8, growth)),
    )


@dataclass(slots=True, kw_only=True)
class MotionModel:
    """The speed of one person, filtered (Kalman, random-walk speed), and where it leads.

    Growth is not foretold: a box that grows makes the pose in it grow a little, and so on.

    Attributes:
        size_px: Root of the person's box area: the unit of all noise.
        speed: x, y in pixels a second.
    """

    size_px: float
    velocity: Float64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    _variance: float = _FIRST_SPEED**2  # of the speed, in square sizes

    def update(self, rigid: ShiftScale, elapsed_s: float, size_px: float) -> None:
        """Take in how the person moved since the last time, ``elapsed_s`` ago."""
        self.size_px = size_px
        self._variance += _UNSTEADINESS**2 * elapsed_s
        gain = self._variance / (self._variance + 2 * (_MEASURED_NOISE / elapsed_s) ** 2)
        moved = (rigid.to_image - rigid.from_image).astype(np.float64)
        self.velocity = self.velocity + gain * (moved / elapsed_s - self.velocity)
        self._variance *= 1 - gain

    def expected_shift(self, elapsed_s: float) -> Float32[np.ndarray, "2"]:
        """Return the shift that is expected ``elapsed_s`` after the last measure."""
        effective_s = _COASTING_S * (1 - math.exp(-elapsed_s / _COASTING_S))
        return (self.velocity * effective_s).astype(np.float32)

    def position_variance(self, elapsed_s: float) -> float:
        """Return how unsure that shift is along each axis, in square pixels."""
        drift = self._variance * elapsed_s**2 + _UNSTEADINESS**2 * elapsed_s**3 / 3
        return min(_MOST_SPREAD**2, _LEAST_SPREAD**2 + drift) * self.size_px**2
