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
from slimpose.runtime.images import IMAGE_SUFFIXES, ImageError, decode_image

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


class SourceError(ValueError):
    """An input that cannot be read; the message names it and says why."""


class BrokenOffError(SourceError):
    """A video that ended before its end; the frames until then were sound."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture: RGB, and its number in the video (0 for a picture file)."""

    index: int
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Media:
    """An opened input.

    Attributes:
        path: The file.
        is_video: Whether it is a video.
        frame_count: Frames the file claims to hold; 1 for a picture, 0 where a video does not say.
        fps: Frames a second of a video, 25 where it does not say.
        frames: The frames, once. For a video, iterating raises BrokenOffError after the last sound frame if
            frames that the file claims are missing.
    """

    path: Path
    is_video: bool
    frame_count: int
    fps: float
    frames: Iterator[Frame]


def expand(source: str) -> list[Path]:
    """Return the files that a path or a pattern names, in the names' order.

    A folder stands for the pictures and videos right in it (not hidden files, not subfolders), a pattern with
    ``*``, ``?``, ``[`` or ``**`` for the files that match, a file for itself.

    Raises:
        SourceError: If there is nothing.
    """
    path = Path(source)
    if path.is_dir():
        return _media_in(path)
    if path.exists():
        if not path.is_file():
            raise SourceError(f"{source}: a device or pipe; expected a picture, a video or a folder")
        return [path]
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns)
        files = [match for match in matches if match.is_file()]
        if not files:
            raise SourceError(f"{source}: no file matches this pattern")
        return files
    raise SourceError(f"{source}: no such file or folder")


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
    """Open a picture or a video; where the suffix says neither, try both.

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
    if suffix in VIDEO_SUFFIXES:
        broken = "no frame of a video can be read (damaged, truncated, or another kind of file?)"
        return _open_video(path, head, f"{path}: {broken}")
    if suffix in IMAGE_SUFFIXES or cv2.haveImageReader(str(path)):
        return _open_image(path)
    unknown = f"neither a picture nor a video that OpenCV can open (its suffix {suffix or 'is missing'})"
    return _open_video(path, head, f"{path}: {unknown}")


def _open_image(path: Path) -> Media:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    frame = Frame(index=0, image=decode_image(data, name=str(path)))
    return Media(path=path, is_video=False, frame_count=1, fps=DEFAULT_FPS, frames=iter([frame]))


def _is_text(head: bytes) -> bool:
    """FFmpeg would show a text file as the film of a terminal, and a playlist as the files that it names."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and b"\0" not in head  # a character cut in two at the end
    return b"\0" not in head


def _open_video(path: Path, head: bytes, otherwise: str) -> Media:
    """Open it and read the first frame: OpenCV opens many a file that is no video."""
    if _is_text(head):
        raise SourceError(otherwise)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    first = _next_frame(capture)
    if first is None:
        capture.release()
        raise SourceError(otherwise)
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    frame_count = int(claimed) if math.isfinite(claimed) and 0 < claimed < 1e9 else 0
    fps = capture.get(cv2.CAP_PROP_FPS)
    return Media(
        path=path,
        is_video=True,
        frame_count=frame_count,
        fps=fps if math.isfinite(fps) and 1 <= fps <= 240 else DEFAULT_FPS,
        frames=_video_frames(capture, first, frame_count, path),
    )


def _next_frame(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, BGR; None at the end, wherever that is."""
    try:
        sound, bgr = capture.read()
    except cv2.error:  # a frame that cannot be decoded
        return None
    return bgr if sound else None


def _video_frames(capture: cv2.VideoCapture, first: Image, frame_count: int, path: Path) -> Iterator[Frame]:
    index = 0
    bgr: np.ndarray | None = first
    try:
        while True:
            yield Frame(index=index, image=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            index += 1
            bgr = _next_frame(capture)
            if bgr is None:
                break
    finally:
        capture.release()
    if frame_count - index > max(2, 0.02 * frame_count):  # containers round their counts
        raise BrokenOffError(
            f"{path}: the video breaks off after {index} of {frame_count} frames "
            "(an unfinished recording or download?); those are kept"
        )
