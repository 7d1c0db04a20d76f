from __future__ import annotations

import numpy as np
import pytest

from moving_person import SKELETONS, walk
from slimpose.motion import compute_angles
from slimpose.motion.angles import wrap
from slimpose.runtime.foreign.skeletons import HALPE26
from slimpose.skeleton import COCO17, Skeleton

STANDING = {
    "nose": (0.1, 1.6), "left_ear": (0, 1.62), "right_ear": (0, 1.62), "head": (0, 1.8),
    **{f"{side}_{name}": point for side in ("left", "right") for name, point in {
        "shoulder": (0, 1.5), "elbow": (0, 1.2), "wrist": (0, 0.9), "hip": (0, 1.0),
        "knee": (0, 0.5), "ankle": (0, 0.1), "heel": (-0.05, 0.02), "big_toe": (0.2, 0.02),
    }.items()},
}  # fmt: skip
"""A person in profile who faces right and stands upright, in meters, y up."""


def angles_of(changes: dict[str, tuple[float, float]], facing: str = "right") -> dict[str, float]:
    points = STANDING | changes
    found = compute_angles(tuple(points), np.array([list(points.values())], float), facing)  # pyright: ignore[reportArgumentType]
    return {name: float(values[0]) for name, values in found.degrees.items()}


@pytest.mark.parametrize(
    ("angle", "changes", "expected"),
    [
        ("left_knee", {}, 0),  # straight
        ("left_knee", {"left_ankle": (-0.4, 0.5)}, 90),  # the heel towards the buttocks
        ("left_knee", {"left_ankle": (0.07, 0.1)}, -9.93),  # bent the wrong way
        ("left_hip", {}, 0),
        ("left_hip", {"left_knee": (0.5, 1.0)}, 90),  # the knee lifted in front
        ("left_hip", {"left_knee": (-0.1, 0.51)}, -11.54),  # behind
        ("left_ankle", {}, 0),  # the foot across the shank
        ("left_ankle", {"left_heel": (0, 0.1), "left_big_toe": (0, -0.1)}, -90),  # in line with it
        ("left_ankle", {"left_big_toe": (0.2, 0.07)}, 11.31),  # toes up
        ("left_shoulder", {}, 0),
        ("left_shoulder", {"left_elbow": (0.3, 1.5)}, 90),
        ("left_shoulder", {"left_elbow": (0, 1.8)}, 180),  # overhead, in line with the trunk
        ("left_elbow", {}, 0),
        ("left_elbow", {"left_wrist": (0.3, 1.2)}, 90),
        ("left_foot", {}, 0),
        ("left_foot", {"left_big_toe": (0.15, 0.22)}, 45),
        ("left_shank", {}, -90),
        ("left_thigh", {}, -90),
        ("left_arm", {}, -90),
        ("left_forearm", {"left_wrist": (0.3, 1.2)}, 0),
        ("trunk", {}, 90),
        ("head", {"head": (0.3, 1.8)}, 45),
        ("pelvis", {"left_hip": (0.2, 1.1), "right_hip": (0, 0.9)}, 45),
        ("pelvis", {"left_hip": (-0.2, 1.1), "right_hip": (0, 0.9)}, -45),  # modulo 180
        ("shoulders", {"left_shoulder": (-0.4, 1.5)}, 0),
    ],
)
def test_conventions_of_sports2d(
    angle: str, changes: dict[str, tuple[float, float]], expected: float
) -> None:
    """Its documentation's zero positions and directions; compared once with Pose2Sim 0.10.49.

    For 2000 random poses all 24 angles were equal to those of its ``fixed_angles`` within 2e-13.
    """
    assert angles_of(changes)[angle] == pytest.approx(expected, abs=0.01)
    mirrored = {name: (-x, y) for name, (x, y) in (STANDING | changes).items()}
    assert angles_of(mirrored, "left")[angle] == pytest.approx(expected, abs=0.01)
    assert angles_of(mirrored, "auto")[angle] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("to_left", [False, True])
def test_angles_of_exact_points_are_exact(skeleton: Skeleton, to_left: bool) -> None:
    walker = walk(np.arange(60) / 30, to_left=to_left)
    points = np.stack([walker.points[name] for name in skeleton.joints], axis=1) * [1, -1]
    angles = compute_angles(skeleton.joints, points)
    assert angles.is_facing_known
    assert (angles.facing_left == to_left).all()
    compared = [name for name in angles.degrees if name in walker.degrees]
    assert len(compared) == (21 if skeleton is HALPE26 else 17)
    for name in compared:
        errors = wrap(angles.degrees[name] - walker.degrees[name])
        assert np.abs(errors).max() < 1e-6, name


def test_angles_that_a_skeleton_cannot_give_name_the_keypoint() -> None:
    angles = compute_angles(COCO17.joints, np.ones((1, 17, 2)))
    assert angles.missing == {
        "head": "head",
        "right_foot": "right_heel",
        "left_foot": "left_heel",
        "right_ankle": "right_heel",
        "left_ankle": "left_heel",
    }
    assert not compute_angles(("pivot", "bob"), np.ones((1, 2, 2))).degrees


def test_names_of_other_tools_and_languages_are_known() -> None:
    points = np.array([[(0, 1.0), (0, 0.5), (-0.5, 0.5)]])
    for names in (("LHip", "LKnee", "LAnkle"), ("hanche_g", "genou_g", "cheville_g")):
        joints = (*names, *(name.replace("L", "R").replace("_g", "_d") for name in names))
        found = compute_angles(joints, np.concatenate([points, points], axis=1), "right")
        assert found.degrees["left_knee"][0] == pytest.approx(90)


def test_person_who_turns_keeps_the_signs_of_angles() -> None:
    there, back = walk(np.arange(30) / 30), walk(np.arange(30) / 30, to_left=True)
    points = np.concatenate(
        [np.stack([one.points[name] for name in COCO17.joints], axis=1) for one in (there, back)]
    ) * [1, -1]
    angles = compute_angles(COCO17.joints, points)
    assert angles.facing_left.tolist() == [False] * 30 + [True] * 30
    true = np.concatenate([there.degrees["left_knee"], back.degrees["left_knee"]])
    assert np.abs(angles.degrees["left_knee"] - true).max() < 1e-6


def test_person_towards_the_camera_has_no_known_side() -> None:
    towards = STANDING | {"nose": (0.01, 1.6), "left_ear": (0.08, 1.62), "right_ear": (-0.08, 1.62)}
    names = tuple(name for name in towards if "heel" not in name and "toe" not in name)
    points = np.array([[towards[name] for name in names]])
    angles = compute_angles(names, points)
    assert not angles.is_facing_known
    assert not angles.facing_left.any()


def test_missing_keypoints_give_missing_angles() -> None:
    points = np.array([list(STANDING.values())] * 2, float)
    points[1, list(STANDING).index("left_knee")] = np.nan
    degrees = compute_angles(tuple(STANDING), points, "right").degrees
    assert np.isnan([degrees[name][1] for name in ("left_knee", "left_hip", "left_thigh")]).all()
    assert np.isfinite(degrees["right_knee"]).all()
