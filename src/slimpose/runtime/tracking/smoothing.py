"""One-Euro smoothing of joints: still ones hold still, moving ones are followed without delay."""

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
    """How strongly joints are smoothed.

    Attributes:
        min_cutoff_hz: Cut-off frequency of a sure joint that does not move; lower is smoother.
        beta: What it gains for each size (root of the person's box area) a second of speed;
            higher lags less.
        derivative_cutoff_hz: Cut-off of the speed's own filter.
        gap_s: After so long unseen, a person's joints start anew.
        usual_spread: Standard deviation, in sizes, of a sure joint's heatmap peak: the strength
            goes with the joint's variance over its square.
        sure_score: Joints that score less are smoothed more, in proportion.
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
_DOUBT = (0.25, 16.0)
"""How much less or more than usual a joint may be smoothed for its spread and score."""


@dataclass(slots=True, kw_only=True)
class _Joints:
    """One person's filtered joints."""

    timestamp_s: float
    points_image: Float64[np.ndarray, "joints 2"]
    speed: Float64[np.ndarray, "joints 2"]  # pixels a second


class PoseSmoother:
    """Smooths the people of one camera, told apart by their ids; those without an id stay as they are.

    Along each axis of its covariance a joint has its own cut-off frequency,
    ``(min_cutoff_hz + beta * speed) / doubt``, where the doubt is the variance along that axis
    over the usual one, over the joint's score where that is low. So a joint that slides along a
    limb is held along the limb and followed across it. Time is the frames' own.

    Source:
        Casiez et al., "1 Euro Filter", CHI 2012; the doubt is this package's addition.
    """

    def __init__(self, settings: OneEuroSettings = DEFAULT_ONE_EURO) -> None:
        self.settings = settings
        self._people: dict[int, _Joints] = {}

    def __call__(self, poses: Poses, timestamp_s: float) -> Poses:
        """Return the poses with their points smoothed; all else is as it was."""
        gap_s = self.settings.max_gap_s
        self._people = {
            person: joints
            for person, joints in self._people.items()
            if 0 < timestamp_s - joints.timestamp_s <= gap_s  # an earlier frame starts anew as well
        }
        points = poses.points_image.astype(np.float64)
        known = [row for row, person in enumerate(poses.ids) if int(person) in self._people]
        before = [self._people[int(poses.ids[row])] for row in known]
        points[known], speed = self._filter(poses, known, before, timestamp_s)
        for row, person in enumerate(poses.ids):
            if person != NOT_TRACKED and row not in known:
                start = np.zeros_like(points[row])
                self._people[int(person)] = _Joints(
                    timestamp_s=timestamp_s, points_image=points[row], speed=start
                )
        for place, row in enumerate(known):
            joints = _Joints(timestamp_s=timestamp_s, points_image=points[row], speed=speed[place])
            self._people[int(poses.ids[row])] = joints
        return dataclasses.replace(poses, points_image=points.astype(np.float32))

    def _filter(
        self, poses: Poses, rows: list[int], before: list[_Joints], timestamp_s: float
    ) -> tuple[Float64[np.ndarray, "n joints 2"], Float64[np.ndarray, "n joints 2"]]:
        """The points and speeds of the people in those rows, given their last."""
        if not rows:
            nobody = np.zeros((0, *poses.points_image.shape[1:]))
            return nobody, nobody
        settings = self.settings
        last = np.stack([joints.points_image for joints in before])
        elapsed_s = timestamp_s - np.array([joints.timestamp_s for joints in before])[:, None, None]
        size_px = np.sqrt(np.maximum(geometry.box_areas(poses.boxes_image[rows]), 1)).astype(
            np.float64
        )[:, None]
        step = poses.points_image[rows] - last
        speed = np.stack([joints.speed for joints in before])
        speed += _gain(settings.derivative_cutoff_hz, elapsed_s) * (step / elapsed_s - speed)
        sizes_a_second = np.linalg.norm(speed, axis=2) / size_px  # (n, joints)
        variances, axes = np.linalg.eigh(poses.covariances_image[rows].astype(np.float64))
        doubt = np.maximum(variances, 0) / (settings.typical_spread * size_px[:, :, None]) ** 2
        doubt /= np.clip(poses.scores[rows] / settings.confident_score, 1e-3, 1)[:, :, None]
        cutoff_hz = (settings.min_cutoff_hz + settings.beta * sizes_a_second)[:, :, None] / np.clip(
            doubt, *_DOUBT
        )
        along = np.einsum("njik,nji->njk", axes, step)  # the step along each axis
        return last + np.einsum("njik,njk->nji", axes, _gain(cutoff_hz, elapsed_s) * along), speed


def _gain(
    cutoff_hz: Float64[np.ndarray, "..."] | float, elapsed_s: Float64[np.ndarray, "n 1 1"]
) -> np.ndarray:
    """The share of a step that a first-order low-pass of this cut-off takes."""
    turn = 2 * math.pi * cutoff_hz * elapsed_s
    return turn / (turn + 1)
