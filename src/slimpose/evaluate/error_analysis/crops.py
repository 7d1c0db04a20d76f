"""The worst people of an analysis as pictures: truth on the left, what was found on the right."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float64

from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.draw import RGB, dot, draw_poses, line
from slimpose.evaluate.error_analysis.analysis import WorstPerson
from slimpose.evaluate.error_analysis.oracle import (
    GOOD,
    INVERSION,
    JITTER,
    MISS,
    NOT_FOUND,
    SWAP,
    UNLABELED,
)
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.crops import crop_people
from slimpose.skeleton import Skeleton

PANEL = Size(352, 264)
KIND_COLORS: dict[int, RGB] = {
    GOOD: (0, 158, 115),
    JITTER: (240, 228, 66),
    INVERSION: (0, 114, 178),
    SWAP: (204, 121, 167),
    MISS: (213, 94, 0),
    NOT_FOUND: (120, 120, 120),
}
"""Okabe and Ito's colors, which the color-blind can tell apart."""
_GAP_PX = 4
_SHOWN_FROM = 0.2
_JPEG_QUALITY = 85


def side_by_side(image: Image, person: WorstPerson, skeleton: Skeleton) -> Image:
    """Return the person's surroundings twice: with the true pose, and with the pose that was found.

    On the right a line leads from each joint that is wrong to its true place, in the color of the
    error's kind.
    Left: joints marked hidden have a dark center. Right: joints that are not labeled are drawn if
    they score 0.2.
    """
    crops, to_crop = crop_people(image, _surroundings(person)[None], PANEL)
    labeled = person.visibility > 0
    true = _poses(person.points_true, labeled.astype(np.float64), to_crop, skeleton)
    left = draw_poses(crops[0], true, joint_threshold=0.5)
    for joint in np.flatnonzero(person.visibility == 1):
        dot(left, true.points_image[0, joint], (18, 18, 22), 1.5)
    right = crops[0]
    if person.points_predicted is not None and person.joint_scores is not None:
        shown = labeled | (person.joint_scores >= _SHOWN_FROM)
        found = _poses(person.points_predicted, shown.astype(np.float64), to_crop, skeleton)
        right = draw_poses(right, found, joint_threshold=0.5)
        for joint in np.flatnonzero((person.kinds != UNLABELED) & (person.kinds != GOOD)):
            color = KIND_COLORS[int(person.kinds[joint])]
            _lead(right, found.points_image[0, joint], true.points_image[0, joint], color)
    gap = np.full((PANEL.height, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def jpeg(image: Image) -> bytes:
    """Return an image as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    sound, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not sound:
        raise RuntimeError(f"OpenCV could not write an image of {image.shape} as JPEG")
    return data.tobytes()


def _surroundings(person: WorstPerson) -> np.ndarray:
    """The person's box grown to hold the labeled joints; never without an area. (4,) float32."""
    points = person.points_true[person.visibility > 0]
    low = np.minimum(person.box[:2], points.min(axis=0) - 1)
    high = np.maximum(person.box[2:], points.max(axis=0) + 1)
    return np.concatenate([low, high]).astype(np.float32)


def _poses(
    points_image: Float64[np.ndarray, "joints 2"],
    scores: Float64[np.ndarray, " joints"],
    to_crop: np.ndarray,
    skeleton: Skeleton,
) -> Poses:
    """One person's pose in the panel's pixels."""
    points = geometry.transform_points(to_crop, points_image[None].astype(np.float32))
    return Poses(
        points_image=points.astype(np.float32),
        scores=scores[None].astype(np.float32),
        covariances_image=np.zeros((1, len(points_image), 2, 2), np.float32),
        boxes_image=np.array(
            [[0, 0, PANEL.width / 2, PANEL.height / 2]], np.float32
        ),  # sets the lines' width
        person_scores=np.ones(1, np.float32),
        ids=np.full(1, NOT_TRACKED, np.int64),
        skeleton=skeleton,
    )


def _lead(canvas: Image, found: np.ndarray, true: np.ndarray, color: RGB) -> None:
    for shade, width in (((18, 18, 22), 3), (color, 1)):
        line(canvas, found, true, shade, width)
    dot(canvas, true, (18, 18, 22), 4.0)
    dot(canvas, true, color, 3.0)
