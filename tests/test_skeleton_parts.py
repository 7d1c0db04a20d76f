"""Parts of a skeleton that follow from its names and limbs."""

from __future__ import annotations

import pytest

from slimpose.runtime.foreign.skeletons import SKELETONS
from slimpose.skeleton import COCO17, Skeleton
from slimpose.skeleton_parts import is_person, known_sigmas, with_derived_parts

NAMINGS = {
    "camel case": lambda side, part: f"{side[0].upper()}{part.capitalize()}",
    "side last": lambda side, part: f"{part}_{side}",
    "letter first": lambda side, part: f"{side[0]}_{part}",
    "Blender": lambda side, part: f"{part.capitalize()}.{side[0].upper()}",
    "spaces": lambda side, part: f"{side.upper()} {part.upper()}",
}
GERMAN = (
    "Nase", "linkes Auge", "rechtes Auge", "linkes Ohr", "rechtes Ohr", "linke Schulter",
    "rechte Schulter", "linker Ellbogen", "rechter Ellbogen", "linkes Handgelenk",
    "rechtes Handgelenk", "linke Hüfte", "rechte Hüfte", "linkes Knie", "rechtes Knie",
    "linker Knöchel", "rechter Knöchel",
)  # fmt: skip
CHINESE = (
    "鼻子", "左眼", "右眼", "左耳", "右耳", "左肩", "右肩", "左肘", "右肘", "左手腕", "右手腕",
    "左臀", "右臀", "左膝", "右膝", "左脚踝", "右脚踝",
)  # fmt: skip


def renamed(naming: str) -> tuple[str, ...]:
    """COCO's joints in another naming."""
    rename = NAMINGS[naming]
    return tuple(rename(*joint.split("_")) if "_" in joint else joint for joint in COCO17.joints)


@pytest.mark.parametrize("joints", [*map(renamed, NAMINGS), GERMAN, CHINESE])
def test_renamed_people_have_cocos_parts(joints: tuple[str, ...]) -> None:
    skeleton = with_derived_parts(Skeleton(name="people", joints=joints))
    assert skeleton.flip_indices.tolist() == COCO17.flip_indices.tolist()
    assert skeleton.sigmas == COCO17.sigmas
    assert skeleton.limb_indices == COCO17.limb_indices
    for part in ("upper_body", "trunk"):
        expected = [COCO17.joints.index(joint) for joint in getattr(COCO17, part)]
        assert [joints.index(joint) for joint in getattr(skeleton, part)] == expected
    assert skeleton.has_same_joints(COCO17)


def test_given_parts_stay() -> None:
    given = Skeleton(
        name="people", joints=COCO17.joints, limbs=(("nose", "left_hip"),),
        sigmas=(0.05,) * 17, upper_body=("nose",), trunk=("left_hip",),
    )  # fmt: skip
    assert with_derived_parts(given) == given


def test_unknown_joints_have_no_sigmas_of_coco() -> None:
    joints = ("Head", *renamed("camel case")[5:])
    skeleton = with_derived_parts(Skeleton(name="13", joints=joints))
    assert skeleton.sigmas == ()
    assert known_sigmas(skeleton)["LHip"] == 0.107
    assert "Head" not in known_sigmas(skeleton)
    assert ("Head", "LShoulder") in skeleton.limbs
    assert "Head" in skeleton.upper_body


@pytest.mark.parametrize(
    ("joints", "reason"),
    [
        (("left_shoulder", "right_shoulder", "left_hip", "right_hip", "tail"), "no person's tail"),
        (("nose", "left_eye", "right_eye"), "a face has no trunk"),
        (("a", "b"), "no names"),
    ],
)
def test_other_skeletons_are_no_people(joints: tuple[str, ...], reason: str) -> None:
    skeleton = Skeleton(name="x", joints=joints)
    assert not is_person(skeleton), reason
    derived = with_derived_parts(skeleton)
    assert (derived.sigmas, derived.upper_body, derived.trunk) == ((), (), ())
    assert known_sigmas(skeleton) == {}


@pytest.mark.parametrize("name", SKELETONS)
def test_published_skeletons_are_people(name: str) -> None:
    assert is_person(SKELETONS[name])


def test_trunk_is_the_center_of_the_limbs_in_pairs() -> None:
    """A snake's middle, and both of a pair even if only one is central."""
    snake = Skeleton(
        name="snake", joints=("a", "b", "c", "d", "e"),
        limbs=(("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")),
    )  # fmt: skip
    assert with_derived_parts(snake).trunk == ("c",)
    paired = Skeleton(
        name="x", joints=("left_a", "right_a", "tip", "end"),
        limbs=(("left_a", "tip"), ("left_a", "right_a"), ("left_a", "end")),
    )  # fmt: skip
    assert with_derived_parts(paired).trunk == ("left_a", "right_a")


def test_branches_are_numbered_from_the_trunk() -> None:
    hand = Skeleton(
        name="hand", joints=("wrist", "a1", "a2", "b1", "loose"),
        limbs=(("wrist", "a1"), ("a1", "a2"), ("wrist", "b1")),
    )  # fmt: skip
    assert hand.branches == (-1, 0, 0, 1, 2)
