"""Interlaced videos, whose frames OpenCV 4.13 and newer decode and do not convert to BGR.

FFmpeg 8's swscale refuses to convert them to progressive frames. OpenCV ignores that and returns
what its buffer holds: black, anything, or an earlier frame, again and again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import cv2
import numpy as np
from jaxtyping import Shaped

MAY_FAIL = tuple(map(int, re.findall(r"\d+", cv2.__version__)[:2])) >= (4, 13)
"""Whether this OpenCV has FFmpeg 8."""
ADVICE = (
    f"it is interlaced, which OpenCV {cv2.__version__} cannot convert; expected a progressive "
    "video (ffmpeg -i FILE -vf yadif OTHER.mp4) or OpenCV 4.12"
)
_SAMPLED_ROWS = 32
_DEADLINE_S = 600.0
_READ_FRAME = """
import sys, cv2
capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG)
for _ in range(int(sys.argv[2])):
    capture.grab()
capture.read()
"""


class Repeats:
    """Finds frames that repeat the one before: so do those that were not converted."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._count, self._next_check = 0, 1

    def needs_check(self, bgr: Shaped[np.ndarray, "h w *channels"]) -> bool:
        """Return whether to check a frame, of 8 or 16 bits.

        Each check needs twice as many repetitions in a row.
        """
        rows = bgr[:: max(1, len(bgr) // _SAMPLED_ROWS)].copy()  # the frame is changed in place
        is_same = self._last is not None and np.array_equal(self._last, rows)
        self._last, self._count = rows, self._count + 1 if is_same else 0
        if self._count < self._next_check:
            return False
        self._next_check *= 2
        return True


def is_refused(name: str, index: int, handle: int | None = None) -> bool:
    """Return whether a frame of a video is not converted, by the message that FFmpeg prints.

    In a process of its own: FFmpeg's messages are on or off for a whole process.

    Args:
        name: The video as FFmpeg opens it.
        index: Number of the frame.
        handle: A descriptor that the name refers to.
    """
    environment = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "16"}
    environment.pop("OPENCV_FFMPEG_DEBUG", None)
    try:
        printed = subprocess.run(
            [sys.executable, "-c", _READ_FRAME, name, str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DEADLINE_S,
            check=False,
            pass_fds=() if handle is None else (handle,),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return b"interlaced to progressive" in printed
