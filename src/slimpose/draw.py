"""Drawing: poses on an image, and a mosaic of several cameras."""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.poses import NOT_TRACKED, Poses

RGB = tuple[int, int, int]

LEFT: RGB = (255, 138, 0)
RIGHT: RGB = (0, 176, 255)
CENTER: RGB = (238, 240, 60)
"""The person's own left is orange, right is blue, the rest is yellow: safe for color blindness."""
_OUTLINE_COLOR: RGB = (18, 18, 22)
_UNTRACKED_COLOR: RGB = (230, 230, 230)
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

_FRACTION_BITS = 4  # OpenCV draws at fixed-point coordinates: sixteenths of a pixel
_MAX_COORDINATE_PX = 200_000.0

DRAWN_JOINT_SCORE = 0.3
"""Joints that score less are not drawn by default."""


def draw_poses(
    image: Image,
    poses: Poses,
    *,
    keypoint_threshold: float = DRAWN_JOINT_SCORE,
    line_width_px: float | None = None,
    boxes: bool = False,
    ids: bool = False,
    person_scores: bool = False,
) -> Image:
    """Return a copy of the image with the poses drawn on it, the best person on top.

    Args:
        image: RGB uint8; zeros draw on black.
        poses: The people.
        keypoint_threshold: Keypoints that score less are not drawn, nor the limbs that end at them.
        line_width_px: Width of the limbs; by default about 1/50 of each person's size.
        boxes: Whether to draw the person boxes.
        ids: Whether to write the track ids of tracked people, each in its track's color.
        person_scores: Whether to write the people's scores.
    """
    canvas = np.ascontiguousarray(image).copy()
    by_side = {"left": LEFT, "right": RIGHT}
    sides = [by_side.get(side or "") for side in poses.skeleton.mirror.sides]
    max_width_px = max(1.0, min(image.shape[:2]) / 60)
    for person in np.argsort(poses.person_scores, kind="stable"):
        points = poses.points_image[person]
        shown = (poses.scores[person] >= keypoint_threshold) & np.isfinite(points).all(axis=1)
        width = line_width_px or _line_width(poses, int(person), max_width_px)
        texts = [str(poses.ids[person])] if ids and poses.ids[person] != NOT_TRACKED else []
        texts += [f"{poses.person_scores[person]:.2f}"] if person_scores else []
        _draw_box(canvas, poses, int(person), width, with_box=boxes, label=" ".join(texts))
        # Outlines first, so that no limb's outline covers another limb of the same person.
        for outline in (True, False):
            for a, b in poses.skeleton.limb_indices:
                if shown[a] and shown[b]:
                    color = _OUTLINE_COLOR if outline else _limb_color(sides[a], sides[b])
                    stroke = width + _outline_px(width) if outline else width
                    draw_line(canvas, points[a], points[b], color, stroke)
            for joint in np.flatnonzero(shown):
                color = _OUTLINE_COLOR if outline else _lighten(sides[joint] or CENTER)
                radius = 0.75 * width + 0.5 + (_outline_px(width) / 2 if outline else 0.0)
                draw_dot(canvas, points[joint], color, radius)
    return canvas


class Trails:
    """The paths of tracked people over the last seconds, in one camera.

    Args:
        seconds: Length of the paths in time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._paths: dict[int, list[tuple[float, np.ndarray]]] = {}

    def add(self, poses: Poses, timestamp_s: float) -> None:
        """Add the centers of the boxes of a frame's people; those without an id are left out."""
        for track, box in zip(poses.ids.tolist(), poses.boxes_image, strict=True):
            if track != NOT_TRACKED:
                center = (box[:2] + box[2:]) / 2
                self._paths.setdefault(track, []).append((timestamp_s, center))
        oldest_s = timestamp_s - self._seconds
        paths = {
            track: [(at_s, center) for at_s, center in path if at_s >= oldest_s]
            for track, path in self._paths.items()
        }
        self._paths = {track: path for track, path in paths.items() if path}

    def draw(self, canvas: Image, line_width_px: float) -> None:
        """Draw the paths onto an image, each in its track's color."""
        for track, path in self._paths.items():
            for (_, a), (_, b) in itertools.pairwise(path):
                draw_line(canvas, a, b, track_color(track), line_width_px)


def track_color(track: int) -> RGB:
    """Return a track's color, the same in every frame; consecutive ids get different colors."""
    if track == NOT_TRACKED:
        return _UNTRACKED_COLOR
    # Steps of the golden ratio spread any number of hues evenly.
    red, green, blue = colorsys.hsv_to_rgb(track * _GOLDEN_RATIO % 1, 0.5 + 0.12 * (track % 3), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def resize_to_fit(image: Image, size: Size, *, pixel_aspect: Fraction = Fraction(1)) -> Image:
    """Return the image scaled to fit ``size``, aspect ratio kept, centered on black.

    ``pixel_aspect`` is the width of the image's pixels relative to their height; the result's are
    square.
    """
    full_width = float(image.shape[1] * pixel_aspect)
    scale = min(size.height / image.shape[0], size.width / full_width)
    height = min(size.height, max(1, round(scale * image.shape[0])))
    width = min(size.width, max(1, round(scale * full_width)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size.height - height) // 2, (size.width - width) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=interpolation
    )
    return canvas


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One camera's tile in a mosaic.

    Attributes:
        image: The newest frame; None before the first.
        name: Written into the corner.
        problem: What is wrong with the camera, written over the dimmed frame; empty if nothing is.
        pixel_aspect: Width of the frame's pixels relative to their height.
    """

    image: Image | None
    name: str
    problem: str = ""
    pixel_aspect: Fraction = Fraction(1)


def mosaic(tiles: Sequence[Tile], tile_size: Size) -> Image:
    """Return the cameras' newest frames in a grid that is as square as possible."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    canvas = np.zeros((rows * tile_size.height, columns * tile_size.width, 3), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * tile_size.height, index % columns * tile_size.width
        cell = canvas[top : top + tile_size.height, left : left + tile_size.width]
        if tile.image is not None:
            cell[:] = resize_to_fit(tile.image, tile_size, pixel_aspect=tile.pixel_aspect)
        if tile.problem:
            cell[:] = cell // 3
        scale = max(0.35, tile_size.height / 700)
        _draw_text(cell, tile.name, (6, round(26 * scale)), scale, _UNTRACKED_COLOR)
        _draw_text(cell, tile.problem, (6, tile_size.height // 2), scale, (255, 170, 60))
    return canvas


def _draw_text(
    canvas: Image, text: str, position: tuple[int, int], scale: float, color: RGB
) -> None:
    """Text on a dark background, shortened in the middle to fit; OpenCV's font has only ASCII."""
    text = text.encode("ascii", "replace").decode()
    font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    shown, available_px = text, canvas.shape[1] - 2 * position[0]
    while shown and cv2.getTextSize(shown, font, scale, stroke)[0][0] > available_px:
        kept = (len(shown) - 5) // 2
        shown = f"{text[:kept]}...{text[-kept:]}" if kept > 0 else ""
    if shown:
        (width, height), baseline = cv2.getTextSize(shown, font, scale, stroke)
        x, y = position
        corners = (x - 3, y - height - 3), (x + width + 3, y + baseline)
        cv2.rectangle(canvas, *corners, _OUTLINE_COLOR, cv2.FILLED)
        cv2.putText(canvas, shown, position, font, scale, color, stroke, cv2.LINE_AA)


def _limb_color(a: RGB | None, b: RGB | None) -> RGB:
    """The color of the side a limb is on; of the center if it connects left and right."""
    if a is None or b is None:
        return a or b or CENTER
    return a if a == b else CENTER


def _lighten(color: RGB) -> RGB:
    red, green, blue = ((value + 2 * 255) // 3 for value in color)
    return red, green, blue


def _line_width(poses: Poses, person: int, max_width_px: float) -> float:
    """About 1/50 of the person's size in pixels, from 1 to ``max_width_px``."""
    x1, y1, x2, y2 = map(float, poses.boxes_image[person])
    size = max(0.0, (x2 - x1) * (y2 - y1)) ** 0.5
    return float(np.clip(size / 50, 1.0, max_width_px))


def _outline_px(width: float) -> float:
    """How much wider the dark outline is than the line, both sides together."""
    return 2.0 if width >= 2 else 1.0


def _to_fixed_point(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(np.nan_to_num(point.astype(np.float64)), -_MAX_COORDINATE_PX, _MAX_COORDINATE_PX)
    return round(x * 2**_FRACTION_BITS), round(y * 2**_FRACTION_BITS)


def draw_line(canvas: Image, a: np.ndarray, b: np.ndarray, color: RGB, width: float) -> None:
    """Draw a line between two points (2,), x and y in pixels, onto the canvas."""
    cv2.line(
        canvas,
        _to_fixed_point(a),
        _to_fixed_point(b),
        color,
        max(1, round(width)),
        cv2.LINE_AA,
        _FRACTION_BITS,
    )


def draw_dot(canvas: Image, center: np.ndarray, color: RGB, radius: float) -> None:
    """Draw a filled circle around a point (2,), x and y in pixels, onto the canvas."""
    cv2.circle(
        canvas,
        _to_fixed_point(center),
        round(radius * 2**_FRACTION_BITS),
        color,
        cv2.FILLED,
        cv2.LINE_AA,
        _FRACTION_BITS,
    )


def _draw_box(
    canvas: Image, poses: Poses, person: int, width: float, *, with_box: bool, label: str
) -> None:
    """A person's box, and a label in its upper left corner unless that is empty."""
    color = track_color(int(poses.ids[person]))
    low, high = map(_to_fixed_point, poses.boxes_image[person].reshape(2, 2))
    thickness = max(1, round(width / 2))
    if with_box:
        cv2.rectangle(canvas, low, high, _OUTLINE_COLOR, thickness + 2, cv2.LINE_AA, _FRACTION_BITS)
        cv2.rectangle(canvas, low, high, color, thickness, cv2.LINE_AA, _FRACTION_BITS)
    if label:
        scale, font = max(0.4, width / 6), cv2.FONT_HERSHEY_SIMPLEX
        stroke = max(1, round(2 * scale))
        (columns, rows), _ = cv2.getTextSize(label, font, scale, stroke)
        x = int(np.clip(low[0] / 2**_FRACTION_BITS, 0, max(0, canvas.shape[1] - columns - 4)))
        y = int(np.clip(low[1] / 2**_FRACTION_BITS, rows + 6, max(rows + 6, canvas.shape[0])))
        cv2.rectangle(canvas, (x, y - rows - 6), (x + columns + 4, y), color, cv2.FILLED)
        cv2.putText(canvas, label, (x + 2, y - 3), font, scale, _OUTLINE_COLOR, stroke, cv2.LINE_AA)
