"""Poses drawn on a picture: what a person looks at to see whether it works."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose.arrays import Image
from slimpose.poses import NOT_TRACKED, Poses

RGB = tuple[int, int, int]

LEFT: RGB = (255, 138, 0)
RIGHT: RGB = (0, 176, 255)
CENTRE: RGB = (238, 240, 60)
"""The person's own left is orange, right is blue, the rest is yellow: the colour-blind see it too."""
_OUTLINE: RGB = (18, 18, 22)
_BOX_COLOURS: tuple[RGB, ...] = (
    (230, 230, 230),
    (126, 217, 87),
    (255, 120, 170),
    (170, 140, 255),
    (90, 220, 200),
)

_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
_FURTHEST_PX = 200_000.0


def draw_poses(
    image: Image, poses: Poses, *, joint_threshold: float = 0.3, boxes: bool = False, ids: bool = False
) -> Image:
    """Return a copy of the image with the poses on it, the best person on top.

    Args:
        image: RGB uint8.
        poses: The people.
        joint_threshold: Joints that score less are left out, and the limbs that end at them.
        boxes: Whether to draw the boxes.
        ids: Whether to write the tracker's ids, where there are any.
    """
    canvas = np.ascontiguousarray(image).copy()
    sides = [_side(joint) for joint in poses.skeleton.joints]
    image_limit = max(1.0, min(image.shape[:2]) / 60)
    for person in np.argsort(poses.person_scores, kind="stable"):
        points = poses.points_image[person]
        shown = (poses.scores[person] >= joint_threshold) & np.isfinite(points).all(axis=1)
        width = _line_width(poses, int(person), image_limit)
        if boxes or ids:
            _draw_box(canvas, poses, int(person), width, with_box=boxes, with_id=ids)
        # Outlines first, so that no limb's outline cuts another limb of the same person.
        for outline in (True, False):
            for a, b in poses.skeleton.limb_indices:
                if shown[a] and shown[b]:
                    colour = _OUTLINE if outline else _limb_colour(sides[a], sides[b])
                    _line(canvas, points[a], points[b], colour, width + _rim(width) if outline else width)
            for joint in np.flatnonzero(shown):
                colour = _OUTLINE if outline else _lighter(sides[joint] or CENTRE)
                radius = 0.75 * width + 0.5
                _dot(canvas, points[joint], colour, radius + _rim(width) / 2 if outline else radius)
    return canvas


def _side(joint: str) -> RGB | None:
    side = joint.partition("_")[0]
    return {"left": LEFT, "right": RIGHT}.get(side)


def _limb_colour(a: RGB | None, b: RGB | None) -> RGB:
    """A limb between a sided and a middle joint is of the side; between left and right, of the middle."""
    if a is None or b is None:
        return a or b or CENTRE
    return a if a == b else CENTRE


def _lighter(colour: RGB) -> RGB:
    red, green, blue = ((value + 2 * 255) // 3 for value in colour)
    return red, green, blue


def _line_width(poses: Poses, person: int, image_limit: float) -> float:
    """About a fiftieth of the person's size in pixels, never under one and never too fat for the picture."""
    x1, y1, x2, y2 = map(float, poses.boxes_image[person])
    size = max(0.0, (x2 - x1) * (y2 - y1)) ** 0.5
    return float(np.clip(size / 50, 1.0, image_limit))


def _rim(width: float) -> float:
    """How much wider the dark outline is than the line, both sides together."""
    return 2.0 if width >= 2 else 1.0


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point.astype(np.float64), -_FURTHEST_PX, _FURTHEST_PX)
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)


def _line(canvas: Image, a: np.ndarray, b: np.ndarray, colour: RGB, width: float) -> None:
    cv2.line(canvas, _fixed(a), _fixed(b), colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)


def _dot(canvas: Image, centre: np.ndarray, colour: RGB, radius: float) -> None:
    cv2.circle(canvas, _fixed(centre), round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_box(canvas: Image, poses: Poses, person: int, width: float, *, with_box: bool, with_id: bool) -> None:
    track = int(poses.ids[person])
    colour = _BOX_COLOURS[track % len(_BOX_COLOURS)] if track != NOT_TRACKED else _BOX_COLOURS[0]
    low, high = _fixed(poses.boxes_image[person, :2]), _fixed(poses.boxes_image[person, 2:])
    thickness = max(1, round(width / 2))
    if with_box:
        cv2.rectangle(canvas, low, high, _OUTLINE, thickness + 2, cv2.LINE_AA, _SHIFT)
        cv2.rectangle(canvas, low, high, colour, thickness, cv2.LINE_AA, _SHIFT)
    if with_id and track != NOT_TRACKED:
        scale, font, text = max(0.4, width / 6), cv2.FONT_HERSHEY_SIMPLEX, str(track)
        stroke = max(1, round(2 * scale))
        (columns, rows), _ = cv2.getTextSize(text, font, scale, stroke)
        x = int(np.clip(low[0] / 2**_SHIFT, 0, max(0, canvas.shape[1] - columns - 4)))
        y = int(np.clip(low[1] / 2**_SHIFT, rows + 6, max(rows + 6, canvas.shape[0])))
        cv2.rectangle(canvas, (x, y - rows - 6), (x + columns + 4, y), colour, cv2.FILLED)
        cv2.putText(canvas, text, (x + 2, y - 3), font, scale, _OUTLINE, stroke, cv2.LINE_AA)
