"""Skeletons: the joints' order, names, limbs, left-right partners and OKS sigmas."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from slimpose import fields
from slimpose.joint_names import MirrorPairs, mirror_pairs
from slimpose.messages import DataWarning, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The joints of a person in a fixed order, with what drawing and evaluation need.

    >>> COCO17.joints[COCO17.flip_indices[COCO17.joints.index("left_wrist")]]
    'right_wrist'

    Attributes:
        name: The skeleton's name.
        joints: The joints' names, in the order of every ``joints`` axis.
        limbs: Pairs of joint names that are drawn as lines.
        sigmas: OKS's tolerance of each joint, as a fraction of the square root of the person's
            area; half of COCO's k. () while they are not known: OKS cannot be computed then.
        upper_body: The joints of one half for half-body augmentation; of people those above the
            hips. () for no such augmentation.
        flip_pairs: The names of joints that exchange places in a mirrored image, () for none; by
            default found from the names, such as left_eye with right_eye, LEye with REye.
        trunk: The joints of the trunk, where the follower compares colors; () for all joints.
        colors: RGB of each joint in drawings; () for colors by side or by limb (``draw.py``).
        sigma_source: Where the sigmas come from, in words.

    Raises:
        ValueError: If names are missing or doubled, a part names a joint that is not there, or a
            sigma is not above 0 and at most 1.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...] = ()
    sigmas: tuple[float, ...] = ()
    upper_body: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    trunk: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    sigma_source: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        where = f"skeleton {quoted(self.name)}"
        if not self.joints:
            raise ValueError(f"{where} has no joints; expected the names of one or more")
        doubled = [name for name, count in Counter(self.joints).items() if count > 1]
        if doubled:
            raise ValueError(
                f"{where} has several joints named {quoted(doubled[0])}; expected different names"
            )
        for field in ("sigmas", "colors"):
            if (count := len(getattr(self, field))) not in (0, len(self.joints)):
                raise ValueError(
                    f"{where} has {len(self.joints)} joints but {count} {field}; expected one for "
                    "each joint"
                )
        for joint, sigma in zip(self.joints, self.sigmas, strict=bool(self.sigmas)):
            if not 0 < sigma <= 1:
                raise ValueError(
                    f"{where}: the sigma of {quoted(joint)} is {quoted(sigma)}; expected a number "
                    "above 0 and at most 1, a share of the person's size (COCO's are 0.025..0.107)"
                )
        pairs = self.flip_pairs or ()
        unknown = {joint for pair in (*self.limbs, *pairs) for joint in pair}
        unknown = (unknown | {*self.upper_body, *self.trunk}) - set(self.joints)
        if unknown:
            raise ValueError(
                f"{where} has no joints named {quoted(sorted(unknown))}; expected names of "
                "joints in limbs, upper_body, flip_pairs and trunk"
            )
        paired = Counter(joint for pair in pairs for joint in pair)
        if paired and max(paired.values()) > 1:
            raise ValueError(
                f"{where}: flip_pairs has {quoted(max(paired, key=paired.__getitem__))} twice; "
                "expected each joint in one pair at most"
            )

    def to_json(self) -> str:
        """Return the skeleton as JSON, for a model file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, where: str = "metadata skeleton") -> Skeleton:
        """Parse what ``to_json`` wrote; ``where`` is its place, for messages.

        Raises:
            ValueError: If the text does not describe a skeleton.
        """
        entry = fields.table(fields.from_json(text, where), where)

        def pairs(name: str) -> tuple[tuple[str, str], ...]:
            return tuple(
                name_pair(pair, f"{entry.what(name)}[{index}]")
                for index, pair in enumerate(entry.items(name))
            )

        def colors() -> Iterator[tuple[int, int, int]]:
            for index, color in enumerate(entry.items("colors")):
                what = f"{entry.what('colors')}[{index}]"
                red, green, blue = fields.numbers(color, what, count=3, expected="red, green, blue")
                yield int(red), int(green), int(blue)

        return cls(
            name=entry.text("name"),
            joints=entry.texts("joints"),
            limbs=pairs("limbs"),
            sigmas=tuple(fields.number(one, entry.what("sigmas")) for one in entry.items("sigmas")),
            upper_body=entry.texts("upper_body"),
            flip_pairs=pairs("flip_pairs") if entry.has("flip_pairs") else None,
            trunk=entry.texts("trunk") if entry.has("trunk") else (),
            colors=tuple(colors()) if entry.has("colors") else (),
            sigma_source=entry.text("sigma_source") if entry.values.get("sigma_source") else "",
        )

    @property
    def mirror(self) -> MirrorPairs:
        """Sides and partners of the joints."""
        return mirror_pairs(self.joints, self.flip_pairs)

    @property
    def flip_indices(self) -> Int64[np.ndarray, " joints"]:
        """For each joint, its partner's index in a mirrored image."""
        return np.array(self.mirror.partners, np.int64)

    def check_mirroring(self) -> None:
        """Check that left and right are known, before images are mirrored.

        A skeleton whose names show no sides at all causes a warning.

        Raises:
            ValueError: If a name has a side and no partner.
        """
        choice = (
            "the pairs in the category's field flip_pairs, such as [[2, 3], [4, 5]], or by name in "
            "skeleton.toml ([] for none)"
        )
        if unpaired := self.mirror.unpaired:
            raise ValueError(
                f"skeleton {quoted(self.name)}: {', '.join(map(quoted, unpaired[:5]))} "
                f"{'have a side' if len(unpaired) > 1 else 'has a side'} and no partner to exchange"
                " places with in a mirrored image; expected names in pairs, such as left_eye and "
                f"right_eye, or {choice}, or no mirrored images (no --flip; augmentation.flip = 0)"
            )
        if self.flip_pairs is None and len(self.joints) > 1 and not any(self.mirror.sides):
            warnings.warn(
                f"skeleton {quoted(self.name)}: no keypoint's name has a side, so none exchange "
                f"places in mirrored images; if some are left and right, name {choice}",
                DataWarning,
                stacklevel=2,
            )

    def has_same_joints(self, other: Skeleton) -> bool:
        """Return whether another skeleton has the same joints in the same order.

        They may be named in another usual way, such as LShoulder for left_shoulder.
        """
        return self.joints == other.joints or self.mirror.plain_names == other.mirror.plain_names

    @property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of indices into ``joints``."""
        return tuple((self.joints.index(a), self.joints.index(b)) for a, b in self.limbs)

    @property
    def branches(self) -> tuple[int, ...]:
        """For each joint the number of its branch of limbs outside the trunk; -1 in the trunk.

        The trunk is, if it is not known, the joint with the most limbs.
        """
        ends = Counter(joint for limb in self.limbs for joint in limb)
        trunk = {*self.trunk} or {joint for joint, _ in ends.most_common(1)}
        found = dict.fromkeys(trunk, -1)
        for joint in self.joints:
            if joint in found:
                continue
            branch, waiting = 1 + max(found.values(), default=-1), [joint]
            while waiting:
                one = waiting.pop()
                if one not in found:
                    found[one] = branch
                    waiting += [b if a == one else a for a, b in self.limbs if one in (a, b)]
        return tuple(found[joint] for joint in self.joints)

    @property
    def sigma_array(self) -> Float32[np.ndarray, " joints"]:
        """``sigmas`` as an array.

        Raises:
            ValueError: If they are not known.
        """
        if not self.sigmas:
            raise ValueError(
                f"skeleton {quoted(self.name)} has no sigmas, which OKS needs; expected them in "
                "the category's field sigmas or in skeleton.toml (slimpose train finds them from "
                "the labels)"
            )
        return np.array(self.sigmas, np.float32)


def name_pair(value: object, what: str) -> tuple[str, str]:
    """Return a pair of names that JSON contains as a list.

    Raises:
        ValueError: If it is not one.
    """
    pair = fields.items(value, what, "two names")
    if len(pair) != 2:
        raise fields.fail(what, value, "two names")
    return fields.text(pair[0], what), fields.text(pair[1], what)


_COCO_UPPER_BODY = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
COCO17 = Skeleton(
    name="coco17",
    joints=(
        *_COCO_UPPER_BODY,
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    limbs=(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_elbow", "right_wrist"),
        ("left_eye", "right_eye"),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    sigmas=(
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ),
    upper_body=_COCO_UPPER_BODY,
    trunk=("left_shoulder", "right_shoulder", "left_hip", "right_hip"),
    sigma_source="COCO",
)
"""The 17 COCO keypoints (Lin et al., "Microsoft COCO", ECCV 2014), sigmas from pycocotools."""

OPENPOSE18 = Skeleton(
    name="openpose18",
    joints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    limbs=(
        ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
        ("neck", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
        ("neck", "right_shoulder"), ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"), ("right_shoulder", "right_ear"),
        ("neck", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("left_shoulder", "left_ear"),
        ("neck", "nose"), ("nose", "right_eye"), ("nose", "left_eye"),
        ("right_eye", "right_ear"), ("left_eye", "left_ear"),
    ),
    sigmas=(
        0.026, 0.079,
        0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
        0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
        0.025, 0.025, 0.035, 0.035,
    ),
    upper_body=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    trunk=COCO17.trunk,
    sigma_source="COCO",
)  # fmt: skip
"""OpenPose's COCO body: COCO's joints and a neck between the shoulders.

The limbs are in the order of its part affinity fields. The neck's sigma is a shoulder's: COCO has
none.
"""
