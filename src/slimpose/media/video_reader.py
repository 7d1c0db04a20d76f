"""Reading video files frame by frame with OpenCV, and the OpenCV calls that live capture shares."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from slimpose.arrays import Image
from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame, Media

DEFAULT_FPS = 25.0
MAX_READ_FAILURES = 64
"""Failed reads in a row: damaged frames if a good one follows, otherwise the end of the source."""

_AUDIO_SIGNATURES = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"#!AMR")
_MAX_HEADER_BYTES = 1 << 20
_NO_VIDEO_TRACK = "there is sound but no video track in it"


class UnreadFramesError(SourceError):
    """Frames of a video are missing; the frames that were returned are good."""


class TruncatedVideoError(UnreadFramesError):
    """A video ends before the number of frames that its header states."""


class DamagedFrameError(UnreadFramesError):
    """Some frames of a video cannot be decoded."""


def silence_opencv_logs(*, hide_urls: bool = False) -> None:
    """Turn off the log output of OpenCV and FFmpeg: slimpose reports errors itself.

    Effective for whatever a process opens first. ``hide_urls`` overrides the user's environment
    variables for OpenCV's log too: the log lines of FFmpeg hold whole addresses with passwords.
    """
    if hide_urls:
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
        os.environ.pop("OPENCV_FFMPEG_DEBUG", None)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Otherwise one lock is held while a stream is opened, and a dead camera blocks the others.
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    # cv2.utils.logging in OpenCV 4, cv2 itself since 5
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)  # silent


def read_bgr(capture: cv2.VideoCapture) -> np.ndarray | None:
    """Return the next frame in OpenCV's BGR; None for a damaged one and at the end."""
    try:
        is_read, bgr = capture.read()
    except cv2.error:
        return None
    return bgr if is_read and bgr is not None and bgr.size else None


def to_rgb(bgr: np.ndarray) -> Image:
    """Return a frame of OpenCV, BGR or gray, as RGB."""
    if bgr.ndim == 2:
        return cv2.cvtColor(bgr, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def open_video(path: Path, head: bytes, *, reason: str) -> Media:
    """Open a video file and decode its first frame: OpenCV also opens many files that are no video.

    ``head`` is its first bytes, 4096 or so; ``reason`` is the error text where the file itself
    gives no better one. ``Media.frames`` says which errors iterating over the frames raises.

    Raises:
        SourceError: If no frame can be decoded.
    """
    if _is_text(head):
        raise SourceError(f"{path}: {reason}")
    capture = _open_capture(path)
    first, damaged = _next_frame(capture)
    if first is None:
        capture.release()
        raise SourceError(f"{path}: {_unreadable_reason(path) or reason}")
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    frame_count = int(count) if math.isfinite(count) and 0 < count < 1e9 else 0
    fps = fps if math.isfinite(fps) and 1 <= fps <= 240 else DEFAULT_FPS
    frames = _read_frames(capture, first, damaged, frame_count=frame_count, fps=fps, path=path)
    return Media(path=path, is_video=True, frame_count=frame_count, fps=fps, frames=frames)


def has_single_frame(path: Path) -> bool:
    """Whether a file that OpenCV reads as a video has exactly one frame."""
    capture = _open_capture(path)
    try:
        return _next_frame(capture)[0] is not None and _next_frame(capture)[0] is None
    finally:
        capture.release()


class FileClock:
    """Times of a video file's frames in seconds since the first, from the file's own timestamps.

    Where timestamps are missing, repeat or jump by more than an hour, the time advances by the
    frame rate instead.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._offset_s = 0.0
        self._last_s = 0.0

    def time_of_frame(self, capture: cv2.VideoCapture, *, steps: int) -> float:
        """Return the time of the frame just read, ``steps`` frames after the previous one.

        ``steps`` is 0 for the first frame, more than 1 after damaged ones.
        """
        position_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if steps == 0:
            self._offset_s = position_s if math.isfinite(position_s) else 0.0
            return 0.0
        time_s = position_s - self._offset_s
        if not self._last_s < time_s < self._last_s + 3600:
            time_s = self._last_s + steps / self._fps
            self._offset_s = position_s - time_s if math.isfinite(position_s) else self._offset_s
        self._last_s = time_s
        return time_s


def _is_text(head: bytes) -> bool:
    """Whether a file's first bytes are text: FFmpeg renders text as video, and opens playlists."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # a character may be cut off at the end
        return error.start > len(head) - 4 and b"\0" not in head
    return b"\0" not in head


def _open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file, frames turned upright by its rotation metadata; it may not be open."""
    silence_opencv_logs()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _next_frame(capture: cv2.VideoCapture) -> tuple[np.ndarray | None, int]:
    """The next good frame (BGR) and the number of damaged ones before it; None at the end."""
    for failures in range(MAX_READ_FAILURES):
        bgr = read_bgr(capture)
        if bgr is not None:
            return bgr, failures
        if not capture.isOpened():
            break
    return None, 0


def _read_frames(
    capture: cv2.VideoCapture,
    first: np.ndarray,
    damaged: int,
    *,
    frame_count: int,
    fps: float,
    path: Path,
) -> Iterator[Frame]:
    clock = FileClock(fps)
    index, first_damaged = damaged, 0
    bgr: np.ndarray | None = first
    time_s = clock.time_of_frame(capture, steps=0)
    try:
        while True:
            yield Frame(image=to_rgb(bgr), timestamp_s=time_s, index=index)
            bgr, failures = _next_frame(capture)
            index += 1 + failures
            if bgr is None:
                break
            time_s = clock.time_of_frame(capture, steps=1 + failures)
            first_damaged = index - failures if failures and not damaged else first_damaged
            damaged += failures
    finally:
        capture.release()
    # Containers round their counts; some know only their duration, at a frame rate that varies.
    tolerance = max(2, 0.02 * frame_count)
    if frame_count - index > tolerance and frame_count - 1 - fps * time_s > tolerance:
        raise TruncatedVideoError(
            f"{path}: the video ends after {index} of {frame_count} frames "
            "(an unfinished recording or download?); those are kept"
        )
    if damaged:
        frames = f"{damaged} damaged frame{'s' * (damaged > 1)}"
        raise DamagedFrameError(
            f"{path}: {frames} could not be decoded (the first is frame {first_damaged}); "
            "the rest is kept"
        )


def _unreadable_reason(path: Path) -> str:
    """Why no frame of a file can be decoded, from its header; empty if unknown."""
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
        if head[4:8] == b"ftyp":
            return _track_reason(_mp4_index(file), video=b"hdlr.{8}vide", audio=b"hdlr.{8}soun")
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # Matroska: codecs are named V_... and A_...
        return _track_reason(head, video=rb"\x86[\x80-\xff]V_", audio=rb"\x86[\x80-\xff]A_")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _track_reason(head, video=b"strh.{4}vids", audio=b"strh.{4}auds")
    is_audio = head.startswith(_AUDIO_SIGNATURES) or (
        head.startswith(b"RIFF") and head[8:12] == b"WAVE"
    )
    is_audio = is_audio or (head.startswith(b"OggS") and b"theora" not in head[:4096])
    return _NO_VIDEO_TRACK if is_audio else ""


def _mp4_index(file: BinaryIO) -> bytes:
    """The moov box; empty if there is none, as in a recording that was cut off."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return b""
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if name == b"moov":
            file.seek(position)
            return file.read(min(length, 16 * _MAX_HEADER_BYTES))
        if length < 8:
            return b""
        position += length


def _track_reason(index: bytes, *, video: bytes, audio: bytes) -> str:
    """What is wrong with the tracks in a container's index; empty without an index."""
    if not index:
        return ""
    if re.search(video, index, re.DOTALL):
        return (
            "its video track holds no readable frame "
            "(a recording that stopped before its first one?)"
        )
    if re.search(audio, index, re.DOTALL):
        return _NO_VIDEO_TRACK
    return "there is no video track in it (a recording that stopped before its first frame?)"
