"""Parts of a skeleton that follow from its names and limbs: for people those of COCO."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque

from slimpose.joint_names import mirror_pairs
from slimpose.skeleton import COCO17, Skeleton

_LOWER_BODY = ("hip", "knee", "ankle", "heel", "toe", "big_toe", "small_toe", "foot", "pelvis")
_OTHER_UPPER_BODY = ("head", "head_top", "top_head", "neck", "chin", "thorax", "chest", "hand")
_SIGMAS = dict(zip(COCO17.joints, COCO17.sigmas, strict=True))
_PEOPLE = {*_LOWER_BODY, "mid_hip", *_OTHER_UPPER_BODY} | {
    joint.removeprefix("left_").removeprefix("right_") for joint in COCO17.joints
}
"""Names of a person's joints, without their sides."""
_OTHER_LIMBS = (
    ("head", "neck"), ("head_top", "neck"), ("top_head", "neck"), ("neck", "left_shoulder"),
    ("neck", "right_shoulder"), ("neck", "thorax"), ("thorax", "pelvis"), ("pelvis", "left_hip"),
    ("pelvis", "right_hip"),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (
        ("wrist", "hand"), ("ankle", "heel"), ("ankle", "foot"), ("ankle", "toe"),
        ("ankle", "big_toe"), ("ankle", "small_toe"))),
)  # fmt: skip
_HAND_AND_FACE = ("face_", "hand_", "thumb", "forefinger", "index", "middle", "ring", "pinky")
_HEADS = ("head", "head_top", "top_head")


def is_person(skeleton: Skeleton) -> bool:
    """Return whether the joints are a person's, in any usual naming (``joint_names.py``).

    >>> names = ("nez", "epaule_g", "epaule_d", "hanche_g", "hanche_d")
    >>> is_person(Skeleton(name="body", joints=names))
    True
    """
    plain = skeleton.mirror.plain_names
    rests = {name.removeprefix("left_").removeprefix("right_") for name in plain}
    others = (rest for rest in rests - _PEOPLE if not rest.startswith(_HAND_AND_FACE))
    return set(COCO17.trunk) <= set(plain) and next(others, None) is None


def known_sigmas(skeleton: Skeleton) -> dict[str, float]:
    """Return the sigmas that COCO has for joints of a person; none for other skeletons."""
    if not is_person(skeleton):
        return {}
    plain = dict(zip(skeleton.joints, skeleton.mirror.plain_names, strict=True))
    return {joint: _SIGMAS[name] for joint, name in plain.items() if name in _SIGMAS}


def with_derived_parts(skeleton: Skeleton) -> Skeleton:
    """Return the skeleton with the parts that it lacks, as far as names and limbs show them.

    A person's joints, however they are named, have COCO's limbs, upper body, trunk and, if it has
    all of them, sigmas. Of other skeletons only the trunk is derived: the third of the joints at
    the center of the limbs.
    """
    if not is_person(skeleton):
        return dataclasses.replace(skeleton, trunk=skeleton.trunk or _central_joints(skeleton))
    of_plain = dict(zip(skeleton.mirror.plain_names, skeleton.joints, strict=True))

    def named(joints: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(of_plain[joint] for joint in joints if joint in of_plain)

    lower = {
        joint
        for plain, joint in of_plain.items()
        if plain.removeprefix("left_").removeprefix("right_") in (*_LOWER_BODY, "mid_hip")
    }
    known = known_sigmas(skeleton)
    has_all = not skeleton.sigmas and len(known) == len(skeleton.joints)
    limbs = tuple(limb for limb in map(named, _limbs(of_plain)) if len(limb) == 2)
    return dataclasses.replace(
        skeleton,
        limbs=skeleton.limbs or tuple((a, b) for a, b in limbs),
        upper_body=skeleton.upper_body or tuple(j for j in skeleton.joints if j not in lower),
        trunk=skeleton.trunk or named(COCO17.trunk),
        sigmas=tuple(known[joint] for joint in skeleton.joints) if has_all else skeleton.sigmas,
        sigma_source="COCO" if has_all else skeleton.sigma_source,
    )


def _limbs(of_plain: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """COCO's limbs and those of the other joints; a head without a neck is on the shoulders."""
    limbs = (*COCO17.limbs, *_OTHER_LIMBS)
    if "neck" in of_plain:
        return limbs
    shoulders = ("left_shoulder", "right_shoulder")
    return (*limbs, *((head, shoulder) for head in _HEADS for shoulder in shoulders))


def _central_joints(skeleton: Skeleton) -> tuple[str, ...]:
    """The third of the joints with the fewest limbs between them and all others, in pairs."""
    if not skeleton.limbs:
        return ()
    joined: defaultdict[str, list[str]] = defaultdict(list)
    for a, b in skeleton.limbs:
        joined[a].append(b)
        joined[b].append(a)
    far = len(skeleton.joints)

    def total_steps(start: str) -> int:
        steps, waiting = {start: 0}, deque([start])
        while waiting:
            joint = waiting.popleft()
            for other in joined[joint]:
                if other not in steps:
                    steps[other] = steps[joint] + 1
                    waiting.append(other)
        return sum(steps.values()) + far * (far - len(steps))

    totals = {joint: total_steps(joint) for joint in skeleton.joints}
    limit = sorted(totals.values())[max(1, far // 3) - 1]
    partners = mirror_pairs(skeleton.joints, skeleton.flip_pairs).partners
    return tuple(
        joint
        for index, joint in enumerate(skeleton.joints)
        if min(totals[joint], totals[skeleton.joints[partners[index]]]) <= limit
    )
