"""Images and videos that are named on the command line: finding the files and opening them."""

from __future__ import annotations

import glob
from pathlib import Path

import cv2

from slimpose.media.addresses import SourceError, is_url, redacted
from slimpose.media.frame import Frame, Media
from slimpose.media.images import IMAGE_SUFFIXES, ImageError, decode_image
from slimpose.media.video_reader import DEFAULT_FPS, has_single_frame, open_video

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts",
    ".3gp", ".ogv", ".gif",
})
# fmt: on


def expand(source: str) -> list[Path]:
    """Return the files that a path or pattern names, sorted by name.

    A folder stands for the images and videos directly in it (no hidden files, no subfolders), a
    pattern with ``*``, ``?``, ``[`` or ``**`` for the files that match, a file for itself.

    Raises:
        SourceError: If there is no such file.
    """
    if is_url(source):
        is_image = Path(source.partition("?")[0]).suffix.lower() in IMAGE_SUFFIXES
        remedy = "download it first" if is_image else "slimpose live reads streams"
        raise SourceError(f"{redacted(source)}: an address, not a file ({remedy})")
    path = Path(source)
    if path.is_dir():
        return _media_files(path)
    if path.exists():
        if not path.is_file():
            raise SourceError(f"{source}: a device or pipe; expected an image, a video or a folder")
        return [path]
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns)
        files = [match for match in matches if match.is_file()]
        if not files:
            raise SourceError(f"{source}: no file matches this pattern")
        return files
    camera = f" (a camera? slimpose live {source})" if source.isdecimal() else ""
    raise SourceError(f"{source}: no such file or folder{camera}")


def _media_files(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    media = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not media:
        raise SourceError(
            f"{folder}: no image or video in this folder ({len(files)} other files); "
            f"subfolders are not searched, '{folder}/**/*.jpg' would"
        )
    return media


def open_media(path: Path) -> Media:
    """Open an image or video file; a suffix that is neither's means trying both.

    A GIF with a single frame is an image.

    Raises:
        SourceError: If it cannot be opened as a video, or as either.
        ImageError: If its suffix is an image's and it is not a complete image.
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
    reason = "no frame of a video can be read (damaged, truncated, or not a video?)"
    # A GIF is always a video in OpenCV 4.10, which reads no GIFs as images.
    is_still_gif = suffix == ".gif" and cv2.haveImageReader(str(path)) and has_single_frame(path)
    if suffix not in VIDEO_SUFFIXES or is_still_gif:
        if suffix in IMAGE_SUFFIXES or cv2.haveImageReader(str(path)):
            return _open_image(path)
        reason = (
            "neither an image nor a video that OpenCV can open "
            f"(its suffix {suffix or 'is missing'})"
        )
    return open_video(path, head, reason=reason)


def _open_image(path: Path) -> Media:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    frame = Frame(image=decode_image(data, name=str(path)), timestamp_s=0.0)
    return Media(path=path, is_video=False, frame_count=1, fps=DEFAULT_FPS, frames=iter([frame]))
