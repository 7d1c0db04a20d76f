"""Opening videos and cameras with OpenCV, and reading them picture by picture."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image

MAX_READ_FAILURES = 64
"""Reads in a row that give nothing: damaged pictures if a sound one follows, else the end."""


def silence_opencv_logs(*, hide_urls: bool = False) -> None:
    """Let OpenCV and FFmpeg say nothing on standard error: what is wrong is told in our words.

    Works for what is opened first in a process. ``strictly`` overrules what the user asked of
    OpenCV by environment
    variables: FFmpeg's own lines hold whole addresses, passwords included.
    """
    words = {"OPENCV_FFMPEG_LOGLEVEL": "-8"}
    if hide_urls:
        os.environ.update(words)
        os.environ.pop("OPENCV_FFMPEG_DEBUG", None)
    else:
        for name, value in words.items():
            os.environ.setdefault(name, value)
    # Otherwise one lock holds while a stream is opened, and a dead camera keeps the others from
    # coming up.
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    set_log_level = (
        getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    )  # in OpenCV 4; since 5
    set_log_level(0)  # silent


def open_file(path: Path) -> cv2.VideoCapture:
    """Open a video file, turned upright as its rotation metadata says; it may turn out not to be open."""
    silence_opencv_logs()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def open_camera(target: int | str) -> cv2.VideoCapture:
    """Open a camera by its number or its device's path; it may turn out not to be open."""
    silence_opencv_logs()
    capture = cv2.VideoCapture(target)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, where the driver lets us choose
    return capture


def open_network(url: str, *, open_s: float, read_s: float) -> cv2.VideoCapture:
    """Open a network stream; opening and each read give up after so many seconds. It may turn out not to be open."""
    silence_opencv_logs(hide_urls=True)
    options = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1e3 * open_s),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1e3 * read_s),
    ]
    # Decoders with several threads hold back as many pictures.
    options += [cv2.CAP_PROP_N_THREADS, 1]
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, options)


def read_bgr(capture: cv2.VideoCapture) -> np.ndarray | None:
    """Return the next picture, BGR as OpenCV has it; None for a damaged one and at the end."""
    try:
        sound, bgr = capture.read()
    except cv2.error:
        return None
    return bgr if sound and bgr is not None and bgr.size else None


def to_rgb(bgr: np.ndarray) -> Image:
    """Return the picture as RGB; a gray one too."""
    if bgr.ndim == 2:
        return cv2.cvtColor(bgr, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


class FileClock:
    """When each picture of a file is shown, in seconds after the first, from the file's own timestamps.

    Where those are missing, repeat or leap by over an hour, time goes on by one picture at ``fps``
    instead.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._offset_s = 0.0
        self._last_s = 0.0

    def after_read(self, capture: cv2.VideoCapture, *, pictures: int) -> float:
        """Return the time of the picture just read, the ``pictures``-th after the one before it (0 for the first)."""
        told_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if pictures == 0:
            self._offset_s = told_s if math.isfinite(told_s) else 0.0
            return 0.0
        time_s = told_s - self._offset_s
        if not self._last_s < time_s < self._last_s + 3600:
            time_s = self._last_s + pictures / self._fps
            self._offset_s = told_s - time_s if math.isfinite(told_s) else self._offset_s
        self._last_s = time_s
        return time_s
