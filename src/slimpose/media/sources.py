"""Images and videos that are named on the command line: finding the files and opening them."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path

from slimpose.media.addresses import SourceError, is_url, redacted
from slimpose.media.frame import ALL_FRAMES, FrameRange, Media
from slimpose.media.image_formats import image_format
from slimpose.media.image_sources import open_image
from slimpose.media.images import IMAGE_SUFFIXES, is_image_file, passed_over_text, read_head
from slimpose.media.video_containers import NO_VIDEO_TRACK, is_video_start, track_problem
from slimpose.media.video_reader import open_video

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts",
    ".3gp", ".ogv", ".gif",
})
# fmt: on
"""The usual ones, for messages; files are recognized by their contents."""
_HEIC = re.compile(rb"....ftyp(hei[cxms]|hev[cx])", re.DOTALL)
_log = logging.getLogger("slimpose")


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
    """The images and videos of a folder; a warning names the files that are passed over."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    files = [entry for entry in entries if entry.is_file()]
    media = [file for file in files if _is_media(file)]
    if not media:
        raise SourceError(
            f"{folder}: no image or video in this folder ({len(files)} other files); "
            f"subfolders are not searched, '{folder}/**/*.jpg' would"
        )
    notes = []
    if passed_over := [file.name for file in files if file not in set(media)]:
        notes.append(passed_over_text(passed_over, len(files)))
    if folders := sum(entry.is_dir() for entry in entries):
        notes.append(f"{folders} subfolders are not searched ('{folder}/**/*.jpg' would)")
    if notes:
        _log.warning("%s: %s", folder, "; ".join(notes))
    return media


def _is_media(file: Path) -> bool:
    """Whether a file in a folder is meant to be an image or video: by its suffix or contents."""
    if file.suffix.lower() in VIDEO_SUFFIXES or is_image_file(file):
        return True
    return is_video_start(read_head(file)) and track_problem(file) != NO_VIDEO_TRACK


def open_media(path: Path, frames: FrameRange = ALL_FRAMES) -> Media:
    """Open an image or video file, recognized by its first bytes rather than by its suffix.

    ``frames`` are read of a video; it is decoded up to them.

    Raises:
        SourceError: If it cannot be opened as a video, or as either.
        ImageError: If it is an image by its first bytes or its suffix, and none can be decoded.
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
    if _HEIC.match(head):
        raise SourceError(f"{path}: a HEIC image, which OpenCV cannot decode; convert it to JPEG")
    if image_format(head) or (suffix in IMAGE_SUFFIXES and not is_video_start(head)):
        return open_image(path, frames)
    reason = "no frame of a video can be read (damaged, truncated, or not a video?)"
    if suffix not in VIDEO_SUFFIXES and not is_video_start(head):
        reason = (
            "neither an image nor a video that OpenCV can open "
            f"(its suffix {suffix or 'is missing'})"
        )
    return open_video(path, head, reason=reason, frames=frames)
