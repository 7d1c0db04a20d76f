"""Joint and segment angles by the conventions of Sports2D.

Angles are of a person who faces right, with y up; of one who faces left those of the mirror image.
Joint angles are the anticlockwise angle between two segments:

| angle | from | to | 0 degrees, and over 0 |
|---|---|---|---|
| ankle | shank (down) | foot (forward), less 90 degrees | foot across the shank; toes up |
| knee | shank (down) | thigh (down) | leg straight; bent |
| hip | trunk (down) | thigh (down) | thigh in line with the trunk; thigh in front |
| shoulder | trunk (down) | arm (from the shoulder) | arm at the side; in front; 180 overhead |
| elbow | arm | forearm | arm straight; bent |

Segment angles are anticlockwise from the horizontal: foot from heel to big toe, shank from knee to
ankle, thigh from hip to knee, trunk from the hips' midpoint to that of the shoulders, head from
there to the top of the head, arm from shoulder to elbow, forearm from elbow to wrist, pelvis and
shoulders from right to left (these two modulo 180 degrees).

Source:
    Pagnon and Kim, "Sports2D", JOSS 2024, and its documentation, section "Angle conventions".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from slimpose.joint_names import mirror_pairs

Facing = Literal["auto", "left", "right"]
_SIDES = ("right", "left")
_NECK, _PELVIS = "neck", "hip"
_LINES = {
    "trunk": (_PELVIS, _NECK),
    "head": (_NECK, "head"),
    "pelvis": ("right_hip", "left_hip"),
    "shoulders": ("right_shoulder", "left_shoulder"),
    **{
        f"{side}_{name}": (f"{side}_{start}", f"{side}_{end}")
        for side in _SIDES
        for name, (start, end) in {
            "foot": ("heel", "big_toe"),
            "shank": ("knee", "ankle"),
            "thigh": ("hip", "knee"),
            "arm": ("shoulder", "elbow"),
            "forearm": ("elbow", "wrist"),
        }.items()
    },
}
"""The start and the end of each segment."""
_UNDIRECTED = ("pelvis", "shoulders")
_JOINTS = {
    "ankle": ("shank", "foot", -90.0),
    "knee": ("shank", "thigh", 0.0),
    "hip": ("trunk", "thigh", 180.0),
    "shoulder": ("trunk", "arm", 180.0),
    "elbow": ("arm", "forearm", 0.0),
}
"""From a segment to another, and what is added; 180 because trunk points up."""
_OTHER_NAMES = {
    "neck": ("neck", "thorax"),
    "hip": ("hip", "mid_hip", "pelvis"),
    "head": ("head", "head_top", "top_head"),
    **{f"{side}_big_toe": (f"{side}_big_toe", f"{side}_toe") for side in _SIDES},
}
"""Names of a keypoint in skeletons, without those of other languages (``joint_names.py``)."""
_TURN = 0.1
"""Of the trunk's length: heel to toe, or ears to nose, at which a person has turned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Angles:
    """Angles of a person over time.

    Attributes:
        degrees: For each angle (n,) values, -180..180; nan where a keypoint is missing.
        missing: For each angle that the skeleton cannot give the keypoint that it lacks.
        facing_left: (n,) whether the person faces left.
        is_facing_known: Whether facing was given or found; otherwise right is assumed.
    """

    degrees: Mapping[str, Float64[np.ndarray, " n"]]
    missing: Mapping[str, str]
    facing_left: np.ndarray
    is_facing_known: bool


def compute_angles(
    joints: tuple[str, ...], points: Float64[np.ndarray, "n joints 2"], facing: Facing = "auto"
) -> Angles:
    """Return joint and segment angles in degrees.

    >>> points = np.array([[[0, 1.0], [0, 0.5], [-0.4, 0.2]]])  # hip, knee, ankle; y up
    >>> angles = compute_angles(("left_hip", "left_knee", "left_ankle"), points, "right")
    >>> (degrees,) = angles.degrees["left_knee"]
    >>> round(float(degrees), 1)
    53.1

    Args:
        joints: The names of the keypoints, in any usual naming.
        points: Their positions, y up.
        facing: Where the person faces; auto finds it in each frame, from heels and toes, or else
            from nose and ears.
    """
    named = _named_points(joints, points)
    left, is_known = _facing_left(named, len(points), facing)
    sign = np.where(left, -1.0, 1.0)
    directions: dict[str, np.ndarray] = {}
    missing: dict[str, str] = {}
    for segment, (start, end) in _LINES.items():
        lacking = [name for name in (start, end) if name not in named]
        if lacking:
            missing[segment] = lacking[0]
            continue
        x, y = (named[end] - named[start]).T
        directions[segment] = np.degrees(np.arctan2(y, sign * x))
    degrees: dict[str, np.ndarray] = {}
    for side in _SIDES:
        for joint, (first, second, offset) in _JOINTS.items():
            name = f"{side}_{joint}"
            parts = [part if part == "trunk" else f"{side}_{part}" for part in (first, second)]
            lacking = [missing[part] for part in parts if part in missing]
            if lacking:
                missing[name] = lacking[0]
            else:
                degrees[name] = wrap(directions[parts[1]] - directions[parts[0]] + offset)
    for segment, direction in directions.items():
        is_line = segment in _UNDIRECTED
        degrees[segment] = wrap(2 * direction) / 2 if is_line else wrap(direction)
    return Angles(degrees=degrees, missing=missing, facing_left=left, is_facing_known=is_known)


def wrap(degrees: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return angles in -180..180, without -180.

    >>> wrap(np.array([190.0, -180.0])).tolist()
    [-170.0, 180.0]
    """
    return 180 - (180 - degrees) % 360


def _named_points(joints: tuple[str, ...], points: np.ndarray) -> dict[str, np.ndarray]:
    """The keypoints by their plain names; neck and hip are midpoints where there are none."""
    columns = {name: column for column, name in enumerate(mirror_pairs(joints).plain_names)}
    named = {name: points[:, column] for name, column in columns.items()}
    for name, others in _OTHER_NAMES.items():
        found = next((other for other in others if other in columns), None)
        if found is not None:
            named[name] = points[:, columns[found]]
    for middle, part in ((_NECK, "shoulder"), (_PELVIS, "hip")):
        if middle not in named and {f"left_{part}", f"right_{part}"} <= named.keys():
            named[middle] = (named[f"left_{part}"] + named[f"right_{part}"]) / 2
    return named


def _facing_left(
    named: Mapping[str, np.ndarray], count: int, facing: Facing
) -> tuple[np.ndarray, bool]:
    """Whether the person faces left in each frame, and whether that is known.

    A turn counts when the feet, or the face, clearly point to the other side.
    """
    if facing != "auto":
        return np.full(count, facing == "left"), True
    forward = _forward(named, count)
    clear = np.where(np.abs(forward) > _TURN, np.sign(forward), 0.0)
    clear[np.isnan(forward)] = 0
    rows = np.flatnonzero(clear)
    if not len(rows):
        return np.zeros(count, bool), False
    latest = np.maximum.accumulate(np.where(clear != 0, np.arange(count), rows[0]))
    return clear[latest] < 0, True


def _forward(named: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """How far toes, or the nose, are to the right of heels, or ears; in lengths of the trunk."""
    if not {_NECK, _PELVIS} <= named.keys():
        return np.zeros(count)
    trunks = np.linalg.norm(named[_NECK] - named[_PELVIS], axis=1)
    trunk = 0.0 if np.isnan(trunks).all() else float(np.nanmedian(trunks))
    if not trunk:
        return np.zeros(count)
    feet = [
        named[f"{side}_big_toe"][:, 0] - named[f"{side}_heel"][:, 0]
        for side in _SIDES
        if {f"{side}_big_toe", f"{side}_heel"} <= named.keys()
    ]
    if feet:
        return _mean_of_known(feet) / trunk
    ears = [named[f"{side}_ear"][:, 0] for side in _SIDES if f"{side}_ear" in named]
    if not ears or "nose" not in named:
        return np.zeros(count)
    return (named["nose"][:, 0] - _mean_of_known(ears)) / trunk


def _mean_of_known(values: list[np.ndarray]) -> np.ndarray:
    """The mean over the list of what is not nan; nan where all is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
