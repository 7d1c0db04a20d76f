"""What a user names on the command line, as pictures and videos, frame by frame."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image
from slimpose.media import capture as captures
from slimpose.media.addresses import SourceError, is_url, redacted
from slimpose.media.containers import explain_unreadable, is_text
from slimpose.media.images import IMAGE_SUFFIXES, ImageError, decode_image

VIDEO_SUFFIXES = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".flv",
        ".ts",
        ".mts",
        ".3gp",
        ".ogv",
        ".gif",
    }
)
DEFAULT_FPS = 25.0


class UnreadFramesError(SourceError):
    """A video that lost pictures; those that it gave were sound."""


class TruncatedVideoError(UnreadFramesError):
    """A video that ended before its end."""


class DamagedFrameError(UnreadFramesError):
    """A video with pictures in it that cannot be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        index: Its number in the video, counting damaged ones too; 0 for a picture file.
        image: RGB.
        timestamp_s: When it is shown, in seconds after the first.
    """

    index: int
    image: Image
    timestamp_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Media:
    """An opened input.

    Attributes:
        path: The file.
        is_video: Whether it is a video.
        frame_count: Frames the file claims to hold; 1 for a picture, 0 where a video does not say.
        fps: Frames a second of a video, 25 where it does not say.
        frames: The frames, once, turned upright. For a video, iterating raises BrokenOffError after
            the last sound frame if frames that the file claims are missing, DamagedError if some on
            the way could not be decoded.
    """

    path: Path
    is_video: bool
    frame_count: int
    fps: float
    frames: Iterator[Frame]


def expand(source: str) -> list[Path]:
    """Return the files that a path or a pattern names, in the names' order.

    A folder stands for the pictures and videos right in it (not hidden files, not subfolders), a
    pattern with ``*``, ``?``, ``[`` or ``**`` for the files that match, a file for itself.

    Raises:
        SourceError: If there is nothing.
    """
    if is_url(source):
        is_picture = Path(source.partition("?")[0]).suffix.lower() in IMAGE_SUFFIXES
        cure = "download it first" if is_picture else "slimpose live watches streams"
        raise SourceError(f"{redacted(source)}: an address, not a file ({cure})")
    path = Path(source)
    if path.is_dir():
        return _media_in(path)
    if path.exists():
        if not path.is_file():
            raise SourceError(
                f"{source}: a device or pipe; expected a picture, a video or a folder"
            )
        return [path]
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns)
        files = [match for match in matches if match.is_file()]
        if not files:
            raise SourceError(f"{source}: no file matches this pattern")
        return files
    camera = f" (a camera? slimpose live {source})" if source.isdecimal() else ""
    raise SourceError(f"{source}: no such file or folder{camera}")


def _media_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    media = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not media:
        raise SourceError(
            f"{folder}: no picture or video in this folder ({len(files)} other files); "
            f"subfolders are not searched, '{folder}/**/*.jpg' would"
        )
    return media


def open_media(path: Path) -> Media:
    """Open a picture or a video; where the suffix says neither, try both. A GIF of one frame is a picture.

    Raises:
        SourceError: If it cannot be opened as a video, or as either.
        ImageError: If its suffix is a picture's and it is none, or it is a truncated one.
    """
    suffix = path.suffix.lower()
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size_bytes == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    if suffix in VIDEO_SUFFIXES and not (suffix == ".gif" and _is_still(path)):
        return _open_video(
            path,
            head,
            "no frame of a video can be read (damaged, truncated, or another kind of file?)",
        )
    if suffix in IMAGE_SUFFIXES or cv2.haveImageReader(str(path)):
        return _open_image(path)
    unknown = (
        f"neither a picture nor a video that OpenCV can open (its suffix {suffix or 'is missing'})"
    )
    return _open_video(path, head, unknown)


def _is_still(path: Path) -> bool:
    """Whether a GIF has a first frame and no second; never in OpenCV 4.10, which does not read GIFs as pictures."""
    if not cv2.haveImageReader(str(path)):
        return False
    capture = captures.open_file(path)
    try:
        return _next_frame(capture)[0] is not None and _next_frame(capture)[0] is None
    finally:
        capture.release()


def _open_image(path: Path) -> Media:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    frame = Frame(index=0, image=decode_image(data, name=str(path)), timestamp_s=0.0)
    return Media(path=path, is_video=False, frame_count=1, fps=DEFAULT_FPS, frames=iter([frame]))


def _open_video(path: Path, head: bytes, otherwise: str) -> Media:
    """Open it and read the first frame: OpenCV opens many a file that is no video."""
    if is_text(head):
        raise SourceError(f"{path}: {otherwise}")
    capture = captures.open_file(path)
    first, damaged = _next_frame(capture)
    if first is None:
        capture.release()
        raise SourceError(f"{path}: {explain_unreadable(path) or otherwise}")
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    frame_count = int(claimed) if math.isfinite(claimed) and 0 < claimed < 1e9 else 0
    told_fps = capture.get(cv2.CAP_PROP_FPS)
    fps = told_fps if math.isfinite(told_fps) and 1 <= told_fps <= 240 else DEFAULT_FPS
    return Media(
        path=path,
        is_video=True,
        frame_count=frame_count,
        fps=fps,
        frames=_video_frames(capture, first, damaged, frame_count, fps, path),
    )


def _next_frame(capture: cv2.VideoCapture) -> tuple[np.ndarray | None, int]:
    """The next sound frame, BGR, and how many damaged ones were left out before it; None at the end."""
    for failures in range(captures.MAX_READ_FAILURES):
        bgr = captures.read_bgr(capture)
        if bgr is not None:
            return bgr, failures
        if not capture.isOpened():
            break
    return None, 0


def _video_frames(
    capture: cv2.VideoCapture,
    first: np.ndarray,
    damaged: int,
    frame_count: int,
    fps: float,
    path: Path,
) -> Iterator[Frame]:
    clock = captures.FileClock(fps)
    index, first_damaged = damaged, 0
    bgr: np.ndarray | None = first
    time_s = clock.after_read(capture, pictures=0)
    try:
        while True:
            yield Frame(index=index, image=captures.to_rgb(bgr), timestamp_s=time_s)
            bgr, failures = _next_frame(capture)
            index += 1 + failures
            if bgr is None:
                break
            time_s = clock.after_read(capture, pictures=1 + failures)
            first_damaged = index - failures if failures and not damaged else first_damaged
            damaged += failures
    finally:
        capture.release()
    # Containers round their counts; some only know how long they are, at a rate that is not even.
    most_missing = max(2, 0.02 * frame_count)
    if frame_count - index > most_missing and frame_count - 1 - fps * time_s > most_missing:
        raise TruncatedVideoError(
            f"{path}: the video breaks off after {index} of {frame_count} frames "
            "(an unfinished recording or download?); those are kept"
        )
    if damaged:
        number = f"{damaged} damaged frame{'s' * (damaged > 1)}"
        raise DamagedFrameError(
            f"{path}: {number} could not be decoded (the first is frame {first_damaged}); the rest is kept"
        )
