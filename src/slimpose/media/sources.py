"""Images and videos that are named on the command line: finding the files and opening them."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import cv2

from slimpose.media.addresses import SourceError, is_url, plain_reason, redacted
from slimpose.media.frame import ALL_FRAMES, FrameRange, Media
from slimpose.media.image_formats import image_format
from slimpose.media.image_sources import open_image
from slimpose.media.image_urls import fetch
from slimpose.media.images import (
    IMAGE_SUFFIXES,
    ImageError,
    is_image_file,
    passed_over_text,
    read_head,
)
from slimpose.media.video_containers import NO_VIDEO_TRACK, is_video_start, track_problem
from slimpose.media.video_reader import open_video
from slimpose.messages import short_name

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts",
    ".3gp", ".ogv", ".gif",
})
# fmt: on
"""The usual ones, for messages; files are recognized by their contents."""
INPUT_ERRORS = (
    ImageError,
    SourceError,
    RuntimeError,
    OSError,
    OverflowError,
    MemoryError,
    cv2.error,
)
"""What opening and processing an input may raise; it fails that input and not the run."""
_log = logging.getLogger("slimpose")


def is_image_url(source: str) -> bool:
    """Return whether it is the http(s) address of what is an image by its suffix."""
    url = urlsplit(source.strip())
    return url.scheme.lower() in ("http", "https") and (
        PurePosixPath(url.path).suffix.lower() in IMAGE_SUFFIXES
    )


def fetch_image(url: str, folder: Path) -> Path:
    """Fetch an image into a file of a folder, named as in its address; return the file.

    Raises:
        ImageError: If it cannot be fetched; passwords are hidden.
    """
    name = PurePosixPath(unquote(urlsplit(url.strip()).path))
    stem, suffix = re.sub(r"[^\w.-]", "_", name.stem)[-100:], name.suffix.lower()
    data = fetch(url)
    paths = (folder / f"{stem}{f'-{n}' if n > 1 else ''}{suffix}" for n in count(1))
    path = next(path for path in paths if not path.exists())
    path.write_bytes(data)
    return path


def expand(source: str, *, recursive: bool = False) -> list[Path]:
    """Return the files that a path or pattern names, sorted by name.

    A folder stands for the images and videos directly in it (no hidden files; no subfolders unless
    ``recursive``), a pattern with ``*``, ``?``, ``[`` or ``**`` for the files that match, a file
    for itself.

    Raises:
        SourceError: If there is no such file.
    """
    if is_url(source):
        is_image = Path(source.partition("?")[0]).suffix.lower() in IMAGE_SUFFIXES
        remedy = "download it first" if is_image else "slimpose live reads streams"
        raise SourceError(f"{redacted(source)}: an address, not a file ({remedy})")
    try:
        return _files_of(source, recursive=recursive)
    except OSError as error:  # a name that is too long, a folder that cannot be searched
        raise SourceError(f"{short_name(source)}: {plain_reason(error)}") from error


def _files_of(source: str, *, recursive: bool) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _media_files(path, recursive=recursive)
    if path.exists():
        if not path.is_file():
            raise SourceError(f"{source}: a device or pipe; expected an image, a video or a folder")
        return [path]
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns)
        files = [match for match in matches if match.is_file() or _is_broken_link(match)]
        if not files:
            raise SourceError(f"{source}: no file matches this pattern")
        return files
    hint = f" (a camera? slimpose live {source})" if source.isdecimal() else ""
    if option := re.fullmatch(r"([a-z_]+)=(.+)", source):  # as Ultralytics' command takes them
        hint = f" (an option? --{option[1].replace('_', '-')} {option[2]})"
    raise SourceError(f"{source}: no such file or folder{hint}")


def _media_files(folder: Path, *, recursive: bool) -> list[Path]:
    """The images and videos of a folder; a warning names the files that are passed over."""
    entries = _entries(folder)
    if recursive:
        entries = [entry for entry in entries if not entry.is_dir()] + [
            file for entry in entries if _is_searched(entry) for file in _all_files(entry)
        ]
    files = [entry for entry in entries if entry.is_file() or _is_broken_link(entry)]
    media = [file for file in files if _is_broken_link(file) or _is_media(file)]
    if not media:
        raise SourceError(
            f"{folder}: no image or video in this folder ({len(files)} other files); "
            f"{'subfolders were searched' if recursive else '--recursive searches subfolders'}"
        )
    notes = []
    if passed_over := [file.name for file in files if file not in set(media)]:
        notes.append(passed_over_text(passed_over, len(files)))
    if folders := sum(entry.is_dir() for entry in entries):
        notes.append(f"{folders} subfolders are not searched (--recursive does)")
    if notes:
        _log.warning("%s: %s", folder, "; ".join(notes))
    return media


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def _all_files(folder: Path) -> Iterator[Path]:
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif _is_searched(entry):
            yield from _all_files(entry)


def _is_searched(entry: Path) -> bool:
    """Whether it is a folder and no link to one, which may form a circle; links are reported."""
    if entry.is_dir() and entry.is_symlink():
        _log.warning("%s: a link to a folder, which is not searched", entry)
        return False
    return entry.is_dir()


def _is_broken_link(entry: Path) -> bool:
    """Whether it is a link to an image or a video that is not there: an input that fails."""
    is_named_so = entry.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    return is_named_so and entry.is_symlink() and not entry.exists()


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
    if image_format(head) or (suffix in IMAGE_SUFFIXES and not is_video_start(head)):
        return open_image(path, frames)
    reason = "no frame of a video can be read (damaged, truncated, or not a video?)"
    if suffix not in VIDEO_SUFFIXES and not is_video_start(head):
        reason = (
            "neither an image nor a video that OpenCV can open "
            f"(its suffix {suffix or 'is missing'})"
        )
    return open_video(path, head, reason=reason, frames=frames)
