"""Skeletons: the joints' order, names, limbs, left-right partners and OKS sigmas."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


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
            area; half of COCO's k.
        upper_body: The joints above the hips, for half-body augmentation.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]
    upper_body: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.joints):
            raise ValueError(
                f"skeleton {self.name!r} has {len(self.joints)} joints "
                f"but {len(self.sigmas)} sigmas"
            )
        unknown = {joint for limb in self.limbs for joint in limb} | set(self.upper_body)
        unknown -= set(self.joints)
        if unknown:
            raise ValueError(f"skeleton {self.name!r} has no joints named {sorted(unknown)}")

    def to_json(self) -> str:
        """Return the skeleton as JSON, for a model file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Skeleton:
        """Parse what ``to_json`` wrote.

        Raises:
            ValueError: If the text does not describe a skeleton.
        """
        try:
            fields = json.loads(text)
            return cls(
                name=fields["name"],
                joints=tuple(fields["joints"]),
                limbs=tuple((a, b) for a, b in fields["limbs"]),
                sigmas=tuple(fields["sigmas"]),
                upper_body=tuple(fields["upper_body"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"metadata does not describe a skeleton: {error!r}") from error

    @property
    def flip_indices(self) -> Int64[np.ndarray, " joints"]:
        """For each joint, its partner's index in a mirrored image (left_x and right_x swap)."""
        mirrored = []
        for joint in self.joints:
            side, _, rest = joint.partition("_")
            other = {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, joint)
            mirrored.append(
                self.joints.index(other) if other in self.joints else self.joints.index(joint)
            )
        return np.array(mirrored, np.int64)

    @property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of indices into ``joints``."""
        return tuple((self.joints.index(a), self.joints.index(b)) for a, b in self.limbs)

    @property
    def sigma_array(self) -> Float32[np.ndarray, " joints"]:
        """``sigmas`` as an array."""
        return np.array(self.sigmas, np.float32)


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
)  # fmt: skip
"""OpenPose's COCO body: COCO's joints and a neck between the shoulders.

The limbs are in the order of its part affinity fields. The neck's sigma is a shoulder's: COCO has
none.
"""
