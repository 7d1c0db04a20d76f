"""Postures of people by their keypoints: standing, sitting, lying.

A rule of angles in the image, not a trained model: docs/events.md has its measured accuracy. It is
no fall detection: a person who lies down and one who fell look the same to it.
"""

from __future__ import annotations

import math

import numpy as np

from slimpose.events.event import Posture
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

MIN_JOINT_SCORE = 0.3
_LYING_DEGREES = 55.0
"""Inclination of the torso from the vertical, from which a person lies."""
_SITTING_RATIO = 0.55
"""A sitting person's knees are less than this share of the torso's length below the hips."""
ROUNDING_S = 1e-6
"""Differences of times since 1970 are exact to this."""
_HOLD_S = 1.0 - ROUNDING_S
_FORGET_S = 5.0


def postures_of(poses: Poses) -> list[Posture]:
    """Return the posture of each person in one image; unknown where too little is visible."""
    names = _indices(poses.skeleton)
    return [
        _posture(points, scores, names)
        for points, scores in zip(poses.points_image, poses.scores, strict=True)
    ]


class PostureWatch:
    """The postures of tracked people over time: a new one must hold for a second."""

    def __init__(self) -> None:
        self._current: dict[int, Posture] = {}
        self._candidate: dict[int, tuple[Posture, float, float]] = {}
        """New posture, time of its first and of its last image."""
        self._seen_s: dict[int, float] = {}

    def update(self, poses: Poses, time_s: float) -> list[tuple[int, Posture]]:
        """Return the people whose posture changed, with the new one; unknown is never one."""
        changed: list[tuple[int, Posture]] = []
        for track, posture in zip(poses.ids.tolist(), postures_of(poses), strict=True):
            self._seen_s[track] = time_s
            if posture in ("unknown", self._current.get(track)):
                if posture != "unknown":
                    self._candidate.pop(track, None)
                continue
            candidate, since_s, _ = self._candidate.get(track, (posture, time_s, time_s))
            if candidate != posture:
                since_s = time_s
            self._candidate[track] = posture, since_s, time_s
            if time_s - since_s >= _HOLD_S:
                self._current[track] = posture
                del self._candidate[track]
                changed.append((track, posture))
        for track, (_, _, last_s) in list(self._candidate.items()):
            if time_s - last_s >= _HOLD_S:  # unknown or not seen since, so it did not hold
                del self._candidate[track]
        for track in [one for one, seen in self._seen_s.items() if time_s - seen > _FORGET_S]:
            for store in (self._current, self._candidate, self._seen_s):
                store.pop(track, None)
        return changed

    def current(self, track: int) -> Posture:
        """Return the posture of a person; unknown before one has held."""
        return self._current.get(track, "unknown")


def _indices(skeleton: Skeleton) -> dict[str, list[int]]:
    """Return the joints of each part, left and right."""
    return {
        part: [
            skeleton.joints.index(f"{side}_{part}")
            for side in ("left", "right")
            if f"{side}_{part}" in skeleton.joints
        ]
        for part in ("shoulder", "hip", "knee", "ankle")
    }


def _posture(points: np.ndarray, scores: np.ndarray, names: dict[str, list[int]]) -> Posture:
    def middle(part: str) -> np.ndarray | None:
        shown = [joint for joint in names[part] if scores[joint] >= MIN_JOINT_SCORE]
        return points[shown].mean(axis=0) if shown else None

    shoulder, hip, knee = middle("shoulder"), middle("hip"), middle("knee")
    if shoulder is None or hip is None:
        return "unknown"
    torso = hip - shoulder
    length_px = float(np.hypot(*torso))
    if length_px < 1.0:
        return "unknown"
    lean = math.degrees(math.atan2(abs(float(torso[0])), float(torso[1])))
    if lean >= _LYING_DEGREES:
        return "lying"
    if knee is None:
        return "unknown"
    drops = float(knee[1] - hip[1])
    return "sitting" if drops < _SITTING_RATIO * length_px else "standing"
