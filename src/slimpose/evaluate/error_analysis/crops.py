"""Images of the worst people of an error analysis: ground truth left, predicted pose right."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float64

from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.draw import RGB, draw_dot, draw_line, draw_poses
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
"""Okabe and Ito's palette, which color-blind people can distinguish."""
_DARK: RGB = (18, 18, 22)
_GAP_PX = 4
_MIN_SHOWN_SCORE = 0.2
_JPEG_QUALITY = 85


def side_by_side(image: Image, person: WorstPerson, skeleton: Skeleton) -> Image:
    """Return the crop around a person twice: with the true pose, and with the predicted pose.

    Left: joints marked hidden have a dark center. Right: a line leads from each wrong joint to its
    true position, in the color of the error's kind; joints without a label are drawn if they score
    0.2 or more.
    """
    crops, to_crop = crop_people(image, _crop_box(person)[None], PANEL)
    labeled = person.visibility > 0
    true = _poses(person.points_true, labeled.astype(np.float64), to_crop, skeleton)
    left = draw_poses(crops[0], true, keypoint_threshold=0.5)
    for joint in np.flatnonzero(person.visibility == 1):
        draw_dot(left, true.points_image[0, joint], _DARK, 1.5)
    right = crops[0]
    if person.points_predicted is not None and person.joint_scores is not None:
        shown = labeled | (person.joint_scores >= _MIN_SHOWN_SCORE)
        predicted = _poses(person.points_predicted, shown.astype(np.float64), to_crop, skeleton)
        right = draw_poses(right, predicted, keypoint_threshold=0.5)
        for joint in np.flatnonzero((person.kinds != UNLABELED) & (person.kinds != GOOD)):
            color = KIND_COLORS[int(person.kinds[joint])]
            _draw_error(right, predicted.points_image[0, joint], true.points_image[0, joint], color)
    gap = np.full((PANEL.height, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def jpeg(image: Image) -> bytes:
    """Return an image as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not write an image of {image.shape} as JPEG")
    return data.tobytes()


def _crop_box(person: WorstPerson) -> np.ndarray:
    """The person's box extended to all labeled joints; never empty. (4,) float32."""
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
        # The size of the box sets the line width.
        boxes_image=np.array([[0, 0, PANEL.width / 2, PANEL.height / 2]], np.float32),
        person_scores=np.ones(1, np.float32),
        ids=np.full(1, NOT_TRACKED, np.int64),
        skeleton=skeleton,
    )


def _draw_error(canvas: Image, predicted: np.ndarray, true: np.ndarray, color: RGB) -> None:
    for line_color, width in ((_DARK, 3), (color, 1)):
        draw_line(canvas, predicted, true, line_color, width)
    draw_dot(canvas, true, _DARK, 4.0)
    draw_dot(canvas, true, color, 3.0)
