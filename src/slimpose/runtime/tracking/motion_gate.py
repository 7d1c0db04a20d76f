"""Whether something moves in a picture that nobody accounts for: a cheap look at a thumbnail."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose.arrays import Boxes, Image, Size

_THUMBNAIL = Size(45, 80)
_THRESHOLD = 14.0
"""Gray levels of 255 that a cell must change by."""
_LEAST_CELLS = 4
"""Connected cells (of 3600) that make a change worth a look: a person of about a twentieth of the picture's height."""
_FORGET_S = 10.0
"""Half-life of what the watch has got used to."""
_USED_TO = 1.3
"""A cell that changed and held nobody must change this much more to be noticed again."""


class MotionGate:
    """Watches one camera for change since the detector last looked, outside the boxes of people who are known.

    Leaves in the wind are noticed once: where the detector looked and found nobody, the watch gets
    used to that much change. A change of light over the whole picture is taken out.
    """

    def __init__(self) -> None:
        self._now: Float32[np.ndarray, "45 80"] | None = None
        self._reference: Float32[np.ndarray, "45 80"] | None = None
        self._used_to = np.zeros(_THUMBNAIL, np.float32)
        self._explained = np.zeros(_THUMBNAIL, bool)
        self._looked_s: float | None = None

    def has_unexplained_motion(self, image: Image, boxes_image: Boxes) -> bool:
        """Return whether the picture changed, since the detector looked, where none of the boxes was meanwhile."""
        self._now = _thumbnail(image)
        if self._reference is None:
            return False
        self._explained |= _covered(boxes_image, Size(*image.shape[:2]))
        noticed = (self._change() > _THRESHOLD + self._used_to) & ~self._explained
        if noticed.sum() < _LEAST_CELLS:
            return False
        _, _, statistics, _ = cv2.connectedComponentsWithStats(
            noticed.astype(np.uint8), connectivity=8
        )
        return bool(statistics[1:, cv2.CC_STAT_AREA].max() >= _LEAST_CELLS)

    def detector_ran(self, image: Image, boxes_image: Boxes, timestamp_s: float) -> None:
        """Take the picture as the new reference; the boxes are of all people known after the detector looked."""
        now = _thumbnail(image) if self._now is None else self._now
        covered = _covered(boxes_image, Size(*image.shape[:2]))
        if self._reference is not None and self._looked_s is not None:
            self._now = now
            in_vain = np.where(self._explained | covered, 0, self._change()) * _USED_TO
            faded = self._used_to * 0.5 ** ((timestamp_s - self._looked_s) / _FORGET_S)
            self._used_to = np.maximum(faded, np.where(in_vain > _THRESHOLD, in_vain, 0)).astype(
                np.float32
            )
        self._reference, self._explained, self._looked_s, self._now = (
            now,
            covered,
            timestamp_s,
            None,
        )

    def _change(self) -> Float32[np.ndarray, "45 80"]:
        assert self._now is not None
        assert self._reference is not None
        difference = self._now - self._reference
        return np.abs(difference - np.median(difference)).astype(np.float32)


def _thumbnail(image: Image) -> Float32[np.ndarray, "45 80"]:
    """The picture in gray, small; of large pictures only some rows and columns are read."""
    step = max(
        1, min(image.shape[0] // (4 * _THUMBNAIL.height), image.shape[1] // (4 * _THUMBNAIL.width))
    )
    part = np.ascontiguousarray(image[::step, ::step])
    small = cv2.resize(part, (_THUMBNAIL.width, _THUMBNAIL.height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _covered(boxes_image: Boxes, size: Size) -> np.ndarray:
    """The cells within the boxes grown by a sixth of their size, and one cell more."""
    covered = np.zeros(_THUMBNAIL, bool)
    scale = np.array([_THUMBNAIL.width / size.width, _THUMBNAIL.height / size.height], np.float32)
    for box in boxes_image:
        margin = (box[2:] - box[:2]) / 6
        x1, y1 = np.floor((box[:2] - margin) * scale).astype(int) - 1
        x2, y2 = np.ceil((box[2:] + margin) * scale).astype(int) + 1
        covered[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    return covered
