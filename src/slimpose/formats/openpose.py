"""OpenPose JSON: one file per frame, people as flat lists of x, y, score in OpenPose's joint order.

The order is documented in OpenPose's ``doc/02_output.md``. Two of its joints are not COCO joints:
the neck is the midpoint of the shoulders, the mid hip (BODY_25 only) that of the hips; each scores
as the lower of its two. Joints that the skeleton lacks, such as the feet of BODY_25, are 0, 0, 0,
which means "not found" in OpenPose. Face and hands are written if it has some of their joints.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from slimpose.formats.files import fitting_name
from slimpose.messages import DataWarning, printable
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

Order = Literal["BODY_25", "COCO_18"]

_FILE_NAME = re.compile(r"_\d{12}_keypoints\.json$")
_NECK = "left_shoulder+right_shoulder"
_MID_HIP = "left_hip+right_hip"
_ABSENT = ""
_ARMS = (
    "nose",
    _NECK,
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_FEET = tuple(
    f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")
)
JOINTS: dict[Order, tuple[str, ...]] = {
    "BODY_25": (*_ARMS, _MID_HIP, *_LEGS, *_FACE, *_FEET),
    "COCO_18": (*_ARMS, *_LEGS, *_FACE),
}
"""For each OpenPose joint: our joint, two joints joined by + whose midpoint it is, or nothing."""

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_PARTS = {
    "face_keypoints_2d": (*(f"face_{number}" for number in range(68)), _ABSENT, _ABSENT),
    **{
        f"hand_{side}_keypoints_2d": (
            f"{side}_hand_root",
            *(f"{side}_{finger}_{number}" for finger in _FINGERS for number in (1, 2, 3, 4)),
        )
        for side in ("left", "right")
    },
}
"""The joints of OpenPose's 70 face keypoints, of which it adds the two pupils, and of its hands."""
_EMPTY = (
    "pose_keypoints_3d",
    "face_keypoints_3d",
    "hand_left_keypoints_3d",
    "hand_right_keypoints_3d",
)


def file_name(stem: str, frame: int) -> str:
    """Return OpenPose's file name for a frame.

    >>> file_name("clip", 12)
    'clip_000000000012_keypoints.json'
    """
    return fitting_name(stem, f"_{frame:012d}_keypoints.json")


def files_of(folder: Path, stems: Collection[str]) -> set[str]:
    """Return the names of a folder's files that ``file_name`` gives for these stems."""
    ending = len(file_name("", 0))
    starts = {file_name(stem, 0)[:-ending] for stem in stems}
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return {name for name in names if _FILE_NAME.search(name) and name[:-ending] in starts}


def document(poses: Poses, order: Order = "BODY_25") -> dict[str, Any]:
    """Return a frame's people in OpenPose's format; ``person_id`` is the track id or -1."""
    people: list[dict[str, Any]] = []
    row_of = _rows(poses.skeleton)
    parts = {
        key: _triples(poses, joints) if row_of.keys() & {*joints} else None
        for key, joints in _PARTS.items()
    }
    for person, (triples, track) in enumerate(zip(keypoints(poses, order), poses.ids, strict=True)):
        people.append(
            {
                "person_id": [int(track)],
                "pose_keypoints_2d": _flat(triples),
                **{key: [] if part is None else _flat(part[person]) for key, part in parts.items()},
                **{key: [] for key in _EMPTY},
            }
        )
    return {"version": 1.3, "people": people}


def keypoints(poses: Poses, order: Order = "BODY_25") -> Float32[np.ndarray, "n order 3"]:
    """Return x, y, score of OpenPose's joints; 0, 0, 0 for those that the skeleton lacks."""
    return _triples(poses, JOINTS[order])


def _triples(poses: Poses, joints: Sequence[str]) -> np.ndarray:
    """Return x, y, score (n, joints, 3) of joints as in ``JOINTS``."""
    row_of = _rows(poses.skeleton)
    triples = np.concatenate([poses.points_image, poses.scores[..., None]], axis=2)
    result = np.zeros((len(poses), len(joints), 3), np.float32)
    for column, joint in enumerate(joints):
        rows = [row_of[name] for name in joint.split("+") if name in row_of]
        if rows and len(rows) == joint.count("+") + 1:
            result[:, column, :2] = triples[:, rows, :2].mean(axis=1)
            result[:, column, 2] = triples[:, rows, 2].min(axis=1)
    return result


def check_skeleton(skeleton: Skeleton, order: Order = "BODY_25") -> None:
    """Check that OpenPose's joints, except the feet, are among a skeleton's.

    A DataWarning is issued if only some are found.

    Raises:
        ValueError: If none is found.
    """
    row_of = _rows(skeleton)
    body = [joint for joint in JOINTS[order] if joint not in _FEET]
    wanted = dict.fromkeys(name for joint in body for name in joint.split("+"))
    missing = [name for name in wanted if name not in row_of]
    if not missing:
        return
    names = f"the model's keypoints are {', '.join(map(printable, skeleton.joints[:8]))}"
    names += ", ..." * (len(skeleton.joints) > 8)
    if len(missing) == len(wanted):
        raise ValueError(
            f"OpenPose files describe a person's body; {names}; expected names such as nose, "
            "left_shoulder, right_knee"
        )
    warnings.warn(
        f"OpenPose files have 0, 0, 0 for {', '.join(missing)}, which the model does not have: "
        f"{names}",
        DataWarning,
        stacklevel=2,
    )


def _flat(triples: np.ndarray) -> list[float]:
    return [
        number
        for x, y, score in triples.tolist()
        for number in (round(x, 3), round(y, 3), round(score, 6))
    ]


def _rows(skeleton: Skeleton) -> dict[str, int]:
    """The rows of joints by their names in one spelling."""
    return {name: row for row, name in enumerate(skeleton.mirror.plain_names)}
