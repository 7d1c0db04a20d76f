"""Reading video files frame by frame with OpenCV, and the OpenCV calls that live capture shares."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from slimpose.forks import InOneProcess
from slimpose.interpreter_end import each_finished_at_exit, finished_at_exit
from slimpose.media.addresses import SourceError
from slimpose.media.frame import ALL_FRAMES, SQUARE, Frame, FrameRange, Media
from slimpose.media.images import FrameDepth, to_rgb
from slimpose.media.interlaced import ADVICE, MAY_FAIL, Repeats, is_refused
from slimpose.media.video_containers import (
    NO_VIDEO_TRACK,
    empty_track_problem,
    has_second_video,
    is_text,
    may_be_cut_off,
    shown_share,
    track_problem,
    video_track_count,
)
from slimpose.messages import DataWarning

DEFAULT_FPS = 25.0
_GRAY_16_BIT = int.from_bytes(b"Y1\0\x10", "little")
MAX_READ_FAILURES = 64
"""Failed reads in a row: damaged frames if a good one follows, otherwise the end of the source."""


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


@finished_at_exit()
def open_video(path: Path, head: bytes, *, reason: str, frames: FrameRange = ALL_FRAMES) -> Media:
    """Open a video file and decode its first frame: OpenCV also opens many files that are no video.

    ``head`` is its first bytes, 4096 or so; ``reason`` is the error text where the file itself
    gives no better one; ``frames`` are those to read. ``Media.frames`` says which errors iterating
    over the frames raises.

    Raises:
        SourceError: If no frame can be decoded.
    """
    if is_text(head):
        raise SourceError(f"{path}: {reason}")
    if (problem := track_problem(path)) == NO_VIDEO_TRACK:
        raise SourceError(f"{path}: {problem}")
    capture = _open_capture(path)
    first, damaged = _next_frame(capture)
    if first is None:
        capture.release()
        raise SourceError(f"{path}: {problem or empty_track_problem(path) or reason}")
    if MAY_FAIL and _starts_with_one_image(path) and _is_refused(path, damaged):
        capture.release()
        raise SourceError(f"{path}: {ADVICE}")
    if (tracks := video_track_count(path)) > 1:
        warnings.warn(
            f"{path}: it has {tracks} video tracks, of which one is read (ffmpeg -i FILE -map "
            "0:v:1 -c copy OTHER.mp4 extracts the second)",
            DataWarning,
            stacklevel=2,
        )
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    frame_count = round(count * shown_share(path)) if 0 < count < 1e9 else 0
    fps = fps if math.isfinite(fps) and 1 <= fps <= 240 else DEFAULT_FPS
    position_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
    return Media(
        path=path,
        is_video=True,
        frame_count=frames.count(frame_count, fps),
        fps=fps / frames.every,
        frames=each_finished_at_exit(
            _read_frames(
                InOneProcess(capture),
                first,
                damaged,
                frame_count=frame_count,
                fps=fps,
                path=path,
                selected=frames,
            )
        ),
        pixel_aspect=pixel_aspect(capture),
        start_s=position_s if math.isfinite(position_s) else 0.0,
    )


def pixel_aspect(capture: cv2.VideoCapture) -> Fraction:
    """Return how wide the pixels of the capture's upright frames are, relative to their height."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (1 <= width < 1 << 31 and 1 <= height < 1 << 31):
        return SQUARE
    if capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:
        width, height = height, width
    aspect = Fraction(int(width), int(height))
    return aspect if Fraction(1, 8) <= aspect <= 8 else SQUARE


class FileClock:
    """Times of a video file's frames in seconds since the first, from the file's own timestamps.

    Where timestamps are missing, repeat or go back, the time advances by the frame rate instead.
    A recording that motion triggers may have gaps of any length.
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
        if not self._last_s < time_s < math.inf:
            time_s = self._last_s + steps / self._fps
            self._offset_s = position_s - time_s if math.isfinite(position_s) else self._offset_s
        self._last_s = time_s
        return time_s


def _open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file, frames turned upright by its rotation metadata; it may not be open."""
    silence_opencv_logs()
    name, handle = _ffmpeg_name(path)
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    if handle is not None:
        os.close(handle)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    if capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT) == _GRAY_16_BIT:
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # keeps the lower bits
    return capture


def _ffmpeg_name(path: Path) -> tuple[str, int | None]:
    """Return a name under which FFmpeg opens this file, and a descriptor to be closed afterwards.

    FFmpeg takes what precedes a colon for a protocol and % for a numbered series of images, and
    OpenCV crashes on names that are not UTF-8.
    """
    name = str(path)
    with suppress(UnicodeEncodeError):
        name.encode()
        if "%" not in name:
            return f"file:{name}", None
    if not Path("/dev/fd").is_dir():
        return f"file:{name}", None
    handle = os.open(path, os.O_RDONLY)
    return f"/dev/fd/{handle}", handle


def _starts_with_one_image(path: Path) -> bool:
    """Whether the second frame repeats the first, or there is none."""
    capture = _open_capture(path)
    first, second = (_next_frame(capture)[0] for _ in range(2))
    capture.release()
    return first is not None and (second is None or np.array_equal(first, second))


def _is_refused(path: Path, index: int) -> bool:
    """Whether OpenCV does not convert a frame."""
    name, handle = _ffmpeg_name(path)
    try:
        return is_refused(name, index, handle)
    finally:
        if handle is not None:
            os.close(handle)


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
    opened: InOneProcess,
    first: np.ndarray,
    damaged: int,
    *,
    frame_count: int,
    fps: float,
    path: Path,
    selected: FrameRange,
) -> Iterator[Frame]:
    (capture,) = opened.opened
    clock, depth = FileClock(fps), FrameDepth()
    index, first_damaged, count = damaged, 0, 0
    damaged = damaged if selected.start_s == 0 else 0
    bgr: np.ndarray | None = first
    time_s = clock.time_of_frame(capture, steps=0)
    repeats = Repeats()
    try:
        while time_s < selected.end_s:
            if selected.has(index=index, timestamp_s=time_s):
                count += 1
                image = to_rgb(depth.to_8_bit(bgr, name=str(path)))
                yield Frame(image=image, timestamp_s=time_s, index=index)
            if not opened.is_here:
                raise SourceError(
                    f"{path}: it was opened before this process was forked; expected to be opened "
                    "in the process that reads it"
                )
            bgr, failures = _next_frame(capture)
            index += 1 + failures
            if bgr is None:
                break
            if MAY_FAIL and repeats.needs_check(bgr) and _is_refused(path, index):
                raise UnreadFramesError(
                    f"{path}: from about frame {index} on {ADVICE}; the frames before are kept"
                )
            damaged_s = time_s + 1 / fps
            time_s = clock.time_of_frame(capture, steps=1 + failures)
            if failures and damaged_s < selected.end_s and selected.start_s < time_s:
                first_damaged = first_damaged if damaged else index - failures
                damaged += failures
    finally:
        if opened.is_here:
            capture.release()
    # Containers round their counts; some know only their duration, at a frame rate that varies.
    tolerance = max(2, 0.02 * frame_count)
    is_short = frame_count - index > tolerance and frame_count - 1 - fps * time_s > tolerance
    if is_short and bgr is None and may_be_cut_off(path):
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
    selected.check_any(count, path, time_s)
    if bgr is None:
        check_second_video(path, index)


def check_second_video(path: Path, count: int) -> None:
    """Raise UnreadFramesError if another file follows in a file of which all frames were read."""
    if has_second_video(path):
        raise UnreadFramesError(
            f"{path}: a second video, which cannot be read, follows in the file after {count} "
            "frames (files joined byte by byte? ffmpeg -f concat joins videos); those are kept"
        )
