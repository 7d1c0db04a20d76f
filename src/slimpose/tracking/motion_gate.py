"""Motion detection in a thumbnail of the image, outside the boxes of known people."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose.arrays import Boxes, Image, Size

_THUMBNAIL = Size(45, 80)
_THRESHOLD = 14.0
"""Least change of a cell, in gray levels of 255."""
_MIN_CELLS = 4
"""Least number of connected changed cells (of 3600): about a person of a twentieth of the image
height."""
_HALF_LIFE_S = 10.0
"""Half-life of the raised thresholds."""
_TOLERANCE_FACTOR = 1.3
"""A cell that changed without a person must change this much more to count again."""


class MotionGate:
    """Detects changes since the last detector run, outside the boxes of known people.

    Where the detector ran on a change and found no person, such as leaves in the wind, the
    threshold is raised for a while. A brightness change of the whole image does not count.
    """

    def __init__(self) -> None:
        self._current: Float32[np.ndarray, "45 80"] | None = None
        self._reference: Float32[np.ndarray, "45 80"] | None = None
        self._tolerance = np.zeros(_THUMBNAIL, np.float32)
        self._explained = np.zeros(_THUMBNAIL, bool)
        self._detected_s: float | None = None

    def has_unexplained_motion(self, image: Image, boxes_image: Boxes) -> bool:
        """Return whether the image changed since the last detector run where no person was.

        Call it once per frame: the cells of all boxes since that run are excluded.
        """
        self._current = _thumbnail(image)
        if self._reference is None:
            return False
        self._explained |= _covered_cells(boxes_image, Size(*image.shape[:2]))
        change = _change(self._current, self._reference)
        moving = (change > _THRESHOLD + self._tolerance) & ~self._explained
        if moving.sum() < _MIN_CELLS:
            return False
        _, _, statistics, _ = cv2.connectedComponentsWithStats(
            moving.astype(np.uint8), connectivity=8
        )
        return bool(statistics[1:, cv2.CC_STAT_AREA].max() >= _MIN_CELLS)

    def detector_ran(self, image: Image, boxes_image: Boxes, timestamp_s: float) -> None:
        """Make the image the new reference.

        Args:
            image: The image that the detector ran on.
            boxes_image: Boxes of all people known after it.
            timestamp_s: Time of the image.
        """
        current = _thumbnail(image) if self._current is None else self._current
        covered = _covered_cells(boxes_image, Size(*image.shape[:2]))
        if self._reference is not None and self._detected_s is not None:
            change = _change(current, self._reference)
            no_person = np.where(self._explained | covered, 0, change) * _TOLERANCE_FACTOR
            decayed = self._tolerance * 0.5 ** ((timestamp_s - self._detected_s) / _HALF_LIFE_S)
            raised = np.where(no_person > _THRESHOLD, no_person, 0)
            self._tolerance = np.maximum(decayed, raised).astype(np.float32)
        self._reference, self._explained, self._detected_s = current, covered, timestamp_s
        self._current = None


def _change(
    current: Float32[np.ndarray, "45 80"], reference: Float32[np.ndarray, "45 80"]
) -> Float32[np.ndarray, "45 80"]:
    """The absolute change of each cell, without the change of the whole image."""
    difference = current - reference
    return np.abs(difference - np.median(difference)).astype(np.float32)


def _thumbnail(image: Image) -> Float32[np.ndarray, "45 80"]:
    """A small gray copy; in large images only some rows and columns are read."""
    step = max(
        1, min(image.shape[0] // (4 * _THUMBNAIL.height), image.shape[1] // (4 * _THUMBNAIL.width))
    )
    part = np.ascontiguousarray(image[::step, ::step])
    small = cv2.resize(part, (_THUMBNAIL.width, _THUMBNAIL.height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _covered_cells(boxes_image: Boxes, size: Size) -> np.ndarray:
    """The cells inside the boxes, which are enlarged by a sixth of their size and one cell."""
    covered = np.zeros(_THUMBNAIL, bool)
    scale = np.array([_THUMBNAIL.width / size.width, _THUMBNAIL.height / size.height], np.float32)
    for box in boxes_image:
        margin = (box[2:] - box[:2]) / 6
        x1, y1 = np.floor((box[:2] - margin) * scale).astype(int) - 1
        x2, y2 = np.ceil((box[2:] + margin) * scale).astype(int) + 1
        covered[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    return covered
