"""Hiding people in images: regions of faces, heads or bodies from poses, filled with one color."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Float32, Int64

from slimpose.arrays import Boxes, Image
from slimpose.draw import draw_line
from slimpose.messages import quoted
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.skeleton import Skeleton

What = Literal["faces", "heads", "people"]
"""What is hidden. Of a person without a face to see, "faces" hides the head."""

FILL_RGB = (64, 64, 64)
"""One color for all: blurred or pixelated faces can be recognized, and people's own colors too."""

_SURE = 0.3
"""Keypoints that score less do not place a head."""
_HEAD_PER_TORSO, _HEAD_PER_SHOULDERS, _HEAD_PER_FACE, _HEAD_PER_BOX = 0.45, 0.65, 1.7, 0.13
"""Length of a head relative to the torso, the shoulders' distance, the largest distance of two
keypoints of the face, and the longer side of the person box. All but the last shrink when they are
seen from the side: the largest counts."""
_RADIUS = {"faces": 0.6, "heads": 0.8, "people": 0.8}
"""Of the circle around a head, in lengths of it."""
_MARGIN = 0.35
"""At least this far around the keypoints of the face, in lengths of the head."""
_BOX_PART = 0.45
"""The upper part of a box that holds the head, where nothing else is known."""
_BODY_MARGIN = 0.06
"""Around a box, relative to its sides, where people are hidden."""


class HiddenBy(enum.IntEnum):
    """What a head was found by."""

    FACE = 0
    """Keypoints of the face."""
    SHOULDERS = 1
    """The shoulders, without keypoints of the face."""
    BOX = 2
    """The person box only: there is no pose to hide by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadRegions:
    """Where the heads of n people are.

    Attributes:
        centers_image: (n, 2) x, y of a circle around the head.
        radii_px: (n,) its radius; 0 where the box is all that is known.
        boxes_image: (n, 4) the part of the box that is hidden instead of a circle.
        hidden_by: (n,) a ``HiddenBy`` for each.
    """

    centers_image: Float32[np.ndarray, "n 2"]
    radii_px: Float32[np.ndarray, " n"]
    boxes_image: Boxes
    hidden_by: Int64[np.ndarray, " n"]


def hide(image: Image, poses: Poses, what: What = "heads") -> Image:
    """Return a copy of the image with the people's faces, heads or bodies filled with one color.

    Heads are placed by the keypoints of the face, else by the shoulders, else in the upper part of
    the person box. People that ``poses`` does not have stay visible; in videos ``Follower`` with
    ``find_everyone`` finds more of them (``follower.everyone``).

    Args:
        image: RGB uint8 (height, width, 3).
        poses: The people.
        what: "faces", "heads" or "people".

    Raises:
        ValueError: If ``what`` is none of these.

    >>> from slimpose.skeleton import COCO17
    >>> image = np.zeros((40, 40, 3), np.uint8)
    >>> bool((hide(image, Poses.empty(COCO17), "faces") == image).all())
    True
    """
    check_what(what)
    hidden = np.ascontiguousarray(image).copy()
    heads = head_regions(poses, what)
    for center, radius, box in zip(
        heads.centers_image, heads.radii_px, heads.boxes_image, strict=True
    ):
        if radius > 0:
            x, y = np.rint(np.clip(center, -1e5, 1e5)).astype(int).tolist()
            cv2.circle(hidden, (x, y), min(int(np.ceil(radius)), 30_000), FILL_RGB, cv2.FILLED)
        else:
            _fill_box(hidden, box)
    if what == "people":
        for person in range(len(poses)):
            _fill_body(hidden, poses, person, float(heads.radii_px[person]))
    return hidden


def check_what(what: str) -> None:
    """Raise ValueError unless this names what can be hidden."""
    if what not in get_args(What):
        raise ValueError(f"hide is {quoted(what)}; expected {', '.join(get_args(What))}")


def head_regions(poses: Poses, what: What = "heads") -> HeadRegions:
    """Return where the people's heads are, with their faces at least."""
    count = len(poses)
    centers, radii = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
    boxes, hidden_by = np.zeros((count, 4), np.float32), np.full(count, HiddenBy.BOX, np.int64)
    parts = _Parts(poses.skeleton)
    for row in range(count):
        body = _Body(parts, poses.points_image[row], poses.scores[row], poses.boxes_image[row])
        boxes[row] = _head_part(poses.boxes_image[row])
        if len(body.face):
            centers[row] = (body.face.min(axis=0) + body.face.max(axis=0)) / 2
            reach = float(np.linalg.norm(body.face - centers[row], axis=1).max())
            radii[row] = max(_RADIUS[what] * body.head_px, reach + _MARGIN * body.head_px)
            hidden_by[row] = HiddenBy.FACE
        elif body.shoulders is not None:
            centers[row] = body.shoulders + 0.7 * body.head_px * body.up
            radii[row] = 1.1 * body.head_px
            hidden_by[row] = HiddenBy.SHOULDERS
    return HeadRegions(
        centers_image=centers, radii_px=radii, boxes_image=boxes, hidden_by=hidden_by
    )


class Hider:
    """Hides the people of frames, and counts the frames with someone who had no pose to hide by.

    Args:
        what: "faces", "heads" or "people".

    Attributes:
        frames: Number of frames.
        frames_without_pose: Number of these in which the pose of someone has no sure keypoint of
            the head or the shoulders, or someone with a track was not found. Faint detections do
            not count: most are of no person.
    """

    def __init__(self, what: What) -> None:
        check_what(what)
        self.what: What = what
        self.frames = self.frames_without_pose = 0

    def __call__(self, image: Image, everyone: Poses) -> Image:
        """Return the image with everyone hidden, see ``hide``.

        Args:
            image: RGB uint8.
            everyone: The people, as ``Follower.everyone`` has them.
        """
        self.frames += 1
        is_box = head_regions(everyone, self.what).hidden_by == HiddenBy.BOX
        is_found = everyone.person_scores > 0
        is_lost = (everyone.ids != NOT_TRACKED) & ~is_found
        self.frames_without_pose += bool(((is_box & is_found) | is_lost).any())
        return hide(image, everyone, self.what)

    def summary(self) -> str:
        """Return what was hidden, as a line for the user."""
        return (
            f"{self.what} hidden in {self.frames} frames; in {self.frames_without_pose} of them "
            "someone had no pose to hide by: by the box, or the place expected, then"
        )


class _Parts:
    """The rows of a skeleton's keypoints that place a head."""

    def __init__(self, skeleton: Skeleton) -> None:
        index = {name: row for row, name in enumerate(skeleton.joints)}
        names = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head")
        self.face = [index[name] for name in names if name in index]
        self.shoulders = [
            index[f"{side}_shoulder"] for side in ("left", "right") if f"{side}_shoulder" in index
        ]
        self.hips = [index[f"{side}_hip"] for side in ("left", "right") if f"{side}_hip" in index]


class _Body:
    """What is known of one person's head: keypoints that are sure, and its length."""

    def __init__(
        self, parts: _Parts, points: np.ndarray, scores: np.ndarray, box: np.ndarray
    ) -> None:
        is_sure = (scores >= _SURE) & np.isfinite(points).all(axis=1)
        face = [row for row in parts.face if is_sure[row]]
        shoulders = [row for row in parts.shoulders if is_sure[row]]
        hips = [row for row in parts.hips if is_sure[row]]
        # One keypoint of a face may be that of someone else.
        self.face = points[face] if len(face) > 1 else points[[]]
        self.shoulders = points[shoulders].mean(axis=0) if shoulders else None
        longest_px = float((box[2:] - box[:2]).max())
        lengths = [_HEAD_PER_BOX * longest_px]
        self.up = np.array([0.0, -1.0], np.float32)
        if shoulders and hips:
            torso = points[shoulders].mean(axis=0) - points[hips].mean(axis=0)
            length = float(np.linalg.norm(torso))
            lengths.append(_HEAD_PER_TORSO * length)
            if length > 0.1 * longest_px:
                self.up = (torso / length).astype(np.float32)
        if len(shoulders) == 2:
            lengths.append(_HEAD_PER_SHOULDERS * _spread(points[shoulders]))
        lengths.append(_HEAD_PER_FACE * _spread(self.face))
        self.head_px = min(max(lengths), longest_px)


def _spread(points: np.ndarray) -> float:
    """The largest distance of two points."""
    if len(points) < 2:
        return 0.0
    return float(np.linalg.norm(points[:, None] - points[None], axis=2).max())


def _head_part(box: np.ndarray) -> np.ndarray:
    """The upper part of a box, all of it if it is wider than high: someone may lie there."""
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1, y2 - y1
    bottom = y2 if width > height else y1 + max(_BOX_PART * height, min(width, height))
    margin = 0.1 * width
    return np.array([x1 - margin, y1 - margin, x2 + margin, min(bottom, y2)], np.float32)


def _fill_box(image: Image, box: np.ndarray) -> None:
    height, width = image.shape[:2]
    x1, y1 = np.floor(np.clip(box[:2] + 0.5, 0, (width, height))).astype(int)
    x2, y2 = np.ceil(np.clip(box[2:] + 0.5, 0, (width, height))).astype(int)
    image[y1:y2, x1:x2] = FILL_RGB


def _fill_body(image: Image, poses: Poses, person: int, head_radius_px: float) -> None:
    """Fill a person's box and limbs, which may reach out of it."""
    box = poses.boxes_image[person]
    margin = _BODY_MARGIN * (box[2:] - box[:2])
    _fill_box(image, np.concatenate([box[:2] - margin, box[2:] + margin]))
    points = poses.points_image[person]
    is_sure = (poses.scores[person] >= _SURE) & np.isfinite(points).all(axis=1)
    width_px = max(0.8 * head_radius_px, 0.08 * float((box[2:] - box[:2]).max()))
    for a, b in poses.skeleton.limb_indices:
        if is_sure[a] and is_sure[b]:
            draw_line(image, points[a], points[b], FILL_RGB, width_px)
