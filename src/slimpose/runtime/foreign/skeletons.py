"""The skeletons of published pose models besides COCO's 17 keypoints."""

from __future__ import annotations

from pathlib import Path

from slimpose.formats.skeleton_file import read_skeleton
from slimpose.runtime.foreign.settings import is_skeleton_file
from slimpose.skeleton import COCO17, OPENPOSE18, Skeleton

_BODY = COCO17.joints
_SIDES = ("left", "right")


def _legs_to(foot: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{side}_ankle", f"{side}_{part}") for side in _SIDES for part in foot)


_FOOT = ("big_toe", "small_toe", "heel")
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HANDS = {
    side: (
        f"{side}_hand_root",
        *(f"{side}_{finger}{joint}" for finger in _FINGERS for joint in (1, 2, 3, 4)),
    )
    for side in _SIDES
}
_MIRRORED_FACE = (
    *((i, 16 - i) for i in range(8)),  # jaw
    *((17 + i, 26 - i) for i in range(5)),  # brows
    (31, 35), (32, 34),  # nose
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),  # eyes
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),  # mouth
)  # fmt: skip
"""The face's 68 points are those of 300-W, numbered along jaw, brows, nose, eyes and mouth."""
_FACE_SIGMAS = (
    0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037,
    0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013,
    0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009,
    0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008,
    0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008,
    0.008, 0.010, 0.008,
)  # fmt: skip
_HAND_SIGMAS = (
    0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026,
    0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031,
)  # fmt: skip
_FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)


def _mirrored(joints: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the pairs left_x, right_x among the joints."""
    others = (joint.replace("left_", "right_", 1) for joint in joints)
    return tuple(
        (joint, other)
        for joint, other in zip(joints, others, strict=True)
        if joint.startswith("left_") and other in joints
    )


_WHOLE_BODY_JOINTS = (
    *_BODY,
    *(f"{side}_{part}" for side in _SIDES for part in _FOOT),
    *(f"face_{i}" for i in range(68)),
    *_HANDS["left"],
    *_HANDS["right"],
)
WHOLE_BODY133 = Skeleton(
    name="wholebody133",
    joints=_WHOLE_BODY_JOINTS,
    limbs=(
        *COCO17.limbs,
        *_legs_to(_FOOT),
        *((f"{side}_wrist", f"{side}_hand_root") for side in _SIDES),
        *(
            (
                _HANDS[side][0 if joint == 1 else 4 * finger + joint - 1],
                _HANDS[side][4 * finger + joint],
            )
            for side in _SIDES
            for finger in range(5)
            for joint in (1, 2, 3, 4)
        ),
    ),
    sigmas=(*COCO17.sigmas, *_FOOT_SIGMAS, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
    upper_body=(
        *COCO17.upper_body,
        *(f"face_{i}" for i in range(68)),
        *_HANDS["left"],
        *_HANDS["right"],
    ),
    flip_pairs=(
        *_mirrored(_WHOLE_BODY_JOINTS),
        *((f"face_{a}", f"face_{b}") for a, b in _MIRRORED_FACE),
    ),
    trunk=COCO17.trunk,
    sigma_source="COCO-WholeBody",
)
"""COCO-WholeBody's 133 keypoints: body, feet, face, hands.

Source:
    Jin et al., "Whole-Body Human Pose Estimation in the Wild", ECCV 2020, and its evaluation code.
"""

_TORSO = {
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"),
}
HALPE26 = Skeleton(
    name="halpe26",
    joints=(
        *_BODY, "head", "neck", "hip",
        "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
        "left_heel", "right_heel",
    ),
    limbs=(
        *(limb for limb in COCO17.limbs if limb not in _TORSO),
        ("head", "neck"), ("neck", "hip"),
        *(("neck", f"{side}_shoulder") for side in _SIDES),
        *((f"{side}_hip", "hip") for side in _SIDES),
        *_legs_to(_FOOT),
    ),
    sigmas=(*COCO17.sigmas, 0.026, 0.026, 0.066, *(0.079,) * 6),
    upper_body=(*COCO17.upper_body, "head", "neck"),
    trunk=COCO17.trunk,
    sigma_source="MMPose",
)  # fmt: skip
"""Halpe's 26 body keypoints, as RTMPose's body models have them; sigmas from MMPose.

Source:
    Fang et al., "AlphaPose: Whole-Body Regional Multi-Person Pose Estimation and Tracking in
    Real-Time", 2022.
"""

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17, OPENPOSE18, HALPE26, WHOLE_BODY133)}


def skeleton_named(name: str) -> Skeleton:
    """Return the skeleton of this name, or of a skeleton file (``formats/skeleton_file.py``).

    >>> len(skeleton_named("halpe26").joints)
    26

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such skeleton, or the file does not describe one.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    if not is_skeleton_file(name):
        raise ValueError(
            f"no skeleton is named {name!r}; expected one of {', '.join(SKELETONS)}, or a JSON or "
            "TOML file with keypoints, and if known sigmas and limbs"
        )
    return read_skeleton(Path(name))


def skeleton_of(joints: int) -> Skeleton | None:
    """Return the skeleton of so many joints that published models have; None if there is none."""
    known = (COCO17, HALPE26, WHOLE_BODY133)
    return next((one for one in known if len(one.joints) == joints), None)
