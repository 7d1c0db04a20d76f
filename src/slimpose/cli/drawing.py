"""What ``predict`` draws: one picture or film for each that was looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2

from slimpose.arrays import Image, Size
from slimpose.cli.output_paths import file_identities
from slimpose.formats.files import write_bytes
from slimpose.media.sources import Media
from slimpose.media.video_writer import VideoWriter

JPEG_QUALITY = 92
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".jp2"})

WriteDrawn = Callable[[Image, float], None]
"""Takes a drawn picture and its time in seconds."""


class DrawnFolder:
    """A folder for drawn pictures and films, called as their inputs are; what a former run drew is replaced.

    In a folder of the inputs they are called NAME.pose.SUFFIX, and there, as wherever a number is
    put behind a name to tell two inputs apart, no file is replaced: it may be a picture of the
    user's.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self.folder = folder
        parents = {parent for file in inputs for parent in (file.parent, file.resolve().parent)}
        self._is_inputs = bool(file_identities(parents) & file_identities([folder]))
        self._taken: set[str] = set()

    @contextmanager
    def writer(self, media: Media) -> Iterator[WriteDrawn]:
        """Give the function that takes the drawn pictures of one input.

        A film gets its name at the end. An error takes it away; an interruption leaves it, as a
        kill would, under its partial name.

        Raises:
            RuntimeError: If it cannot be written.
        """
        target = self._claim(media)
        if not media.is_video:
            yield lambda image, _: write_image(target, image)
            return
        film: VideoWriter | None = None

        def write(image: Image, timestamp_s: float) -> None:
            nonlocal film
            if film is None:
                film = VideoWriter(target, Size(*image.shape[:2]), fps=media.fps)
            film.write(image, timestamp_s)

        try:
            yield write
            if film is not None:
                film.finish()
        except Exception:
            if film is not None:
                film.discard()
            raise
        finally:
            if film is not None:
                film.close()

    def _claim(self, media: Media) -> Path:
        suffix = (
            ".mp4"
            if media.is_video
            else ".jpg"
            if media.path.suffix.lower() in _LOSSY_SUFFIXES
            else ".png"
        )
        stem = f"{media.path.stem}.pose" if self._is_inputs else media.path.stem
        for number in count(1):
            target = self.folder / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}"
            is_kept = (number > 1 or self._is_inputs) and os.path.lexists(target)
            if target.name.lower() not in self._taken and not is_kept:
                self._taken.add(target.name.lower())
                return target
        raise AssertionError("count ended")


def write_image(target: Path, image: Image) -> None:
    """Write a picture whole.

    Raises:
        RuntimeError: If it cannot be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if target.suffix == ".jpg" else []
    try:
        encoded, data = cv2.imencode(target.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise RuntimeError(f"cannot write {target}: OpenCV did not encode it")
        write_bytes(target, data.tobytes())
    except (ValueError, OSError, cv2.error) as error:
        raise RuntimeError(f"cannot write {target}: {error}") from error
