"""One-Euro filter of keypoints: strong smoothing at rest, little delay in motion."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from slimpose import geometry
from slimpose.poses import NOT_TRACKED, Poses


@dataclass(frozen=True, slots=True, kw_only=True)
class OneEuroSettings:
    """Parameters of the One-Euro filter of keypoints.

    Attributes:
        min_cutoff_hz: Cutoff frequency of a confident keypoint at rest (``mincutoff`` in the
            paper). Lower values remove more jitter but delay slow motion.
        beta: Increase of the cutoff frequency with the speed, in Hz per size (square root of the
            person's box area) per second (``beta`` in the paper). Higher values reduce the lag of
            fast motion but let more jitter through.
        derivative_cutoff_hz: Cutoff frequency of the filter of the speed (``dcutoff`` in the
            paper). Lower values make the adaptation less sensitive to noise but slower.
        max_gap_s: A person who was not observed for longer starts unsmoothed again.
        typical_spread: Standard deviation of a confident keypoint's heatmap peak, in sizes. Higher
            values smooth all keypoints less.
        confident_score: Keypoints with lower scores are smoothed more, in proportion.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 20.0
    derivative_cutoff_hz: float = 1.0
    max_gap_s: float = 0.5
    typical_spread: float = 0.07
    confident_score: float = 0.5

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and (value > 0 or (field.name == "beta" and value == 0))):
                raise ValueError(f"{field.name} is {value:g}; expected a finite number over 0")


DEFAULT_ONE_EURO = OneEuroSettings()
_UNCERTAINTY_RANGE = (0.25, 16.0)
"""Limits of the factor by which a keypoint is smoothed more for its spread and score."""


@dataclass(slots=True, kw_only=True)
class _FilterState:
    """The filtered keypoints of one person."""

    timestamp_s: float
    points_image: Float64[np.ndarray, "joints 2"]
    velocity: Float64[np.ndarray, "joints 2"]  # pixels per second


class PoseSmoother:
    """Smooths the keypoints of one camera's tracked people over time.

    Each keypoint has a cutoff frequency along each axis of its covariance:
    ``(min_cutoff_hz + beta * speed) / uncertainty``. The uncertainty is the variance along the axis
    over the typical variance, and higher for low scores. So a keypoint that slides along a limb is
    smoothed along the limb but not across it. Timing follows the timestamps, not the number of
    frames. People without an id stay as they are.

    Source:
        Casiez et al., "1 Euro Filter", CHI 2012; the uncertainty is an addition of this package.
    """

    def __init__(self, settings: OneEuroSettings = DEFAULT_ONE_EURO) -> None:
        self.settings = settings
        self._states: dict[int, _FilterState] = {}

    def __call__(self, poses: Poses, timestamp_s: float) -> Poses:
        """Return the poses with smoothed points; all other fields are unchanged."""
        self._states = {
            track_id: state
            for track_id, state in self._states.items()
            # A timestamp that does not increase resets the filter, too.
            if 0 < timestamp_s - state.timestamp_s <= self.settings.max_gap_s
        }
        points = poses.points_image.astype(np.float64)
        velocity = np.zeros_like(points)
        known = [row for row, track_id in enumerate(poses.ids) if int(track_id) in self._states]
        if known:
            states = [self._states[int(poses.ids[row])] for row in known]
            points[known], velocity[known] = self._filter(poses, known, states, timestamp_s)
        for row, track_id in enumerate(poses.ids):
            if track_id != NOT_TRACKED:
                self._states[int(track_id)] = _FilterState(
                    timestamp_s=timestamp_s, points_image=points[row], velocity=velocity[row]
                )
        return dataclasses.replace(poses, points_image=points.astype(np.float32))

    def _filter(
        self, poses: Poses, rows: list[int], states: list[_FilterState], timestamp_s: float
    ) -> tuple[Float64[np.ndarray, "n joints 2"], Float64[np.ndarray, "n joints 2"]]:
        """Return the filtered points and velocities of the people in these rows."""
        settings = self.settings
        last = np.stack([state.points_image for state in states])
        elapsed_s = timestamp_s - np.array([state.timestamp_s for state in states])[:, None, None]
        size_px = np.sqrt(np.maximum(geometry.box_areas(poses.boxes_image[rows]), 1)).astype(
            np.float64
        )[:, None]
        step = poses.points_image[rows] - last
        velocity = np.stack([state.velocity for state in states])
        velocity += _alpha(settings.derivative_cutoff_hz, elapsed_s) * (step / elapsed_s - velocity)
        speed = np.linalg.norm(velocity, axis=2) / size_px  # (n, joints), sizes per second
        variances, axes = np.linalg.eigh(poses.covariances_image[rows].astype(np.float64))
        typical_variance = (settings.typical_spread * size_px[:, :, None]) ** 2
        uncertainty = np.maximum(variances, 0) / typical_variance
        uncertainty /= np.clip(poses.scores[rows] / settings.confident_score, 1e-3, 1)[:, :, None]
        cutoff_hz = (settings.min_cutoff_hz + settings.beta * speed)[:, :, None] / np.clip(
            uncertainty, *_UNCERTAINTY_RANGE
        )
        axis_step = np.einsum("njik,nji->njk", axes, step)  # the step along each axis
        filtered = np.einsum("njik,njk->nji", axes, _alpha(cutoff_hz, elapsed_s) * axis_step)
        return last + filtered, velocity


def _alpha(
    cutoff_hz: Float64[np.ndarray, "..."] | float, elapsed_s: Float64[np.ndarray, "n 1 1"]
) -> np.ndarray:
    """The smoothing factor ``alpha`` of the paper: the share of a step that the filter follows."""
    angle = 2 * math.pi * cutoff_hz * elapsed_s
    return angle / (angle + 1)
