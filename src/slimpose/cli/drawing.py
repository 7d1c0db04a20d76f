"""What ``predict`` draws: one picture or film for each that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2

from slimpose.arrays import Image, Size
from slimpose.cli.writing import identities
from slimpose.formats.files import write_bytes
from slimpose.runtime.recording import Recording
from slimpose.runtime.sources import Media

JPEG_QUALITY = 92
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".jp2"})

WriteDrawn = Callable[[Image, float], None]
"""Takes a drawn picture and its time in seconds."""


class DrawnFolder:
    """A folder for drawn pictures and films: no two names the same, none an input's."""

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self.folder = folder
        self._inputs = identities(inputs)
        self._taken: set[str] = set()

    @contextmanager
    def writer(self, media: Media) -> Iterator[WriteDrawn]:
        """Give the function that takes the drawn pictures of one input.

        A film gets its name at the end. An error takes it away; an interruption leaves it, as a kill would, under its
        partial name.

        Raises:
            RuntimeError: If it cannot be written.
        """
        target = self._claim(media)
        if not media.is_video:
            yield lambda image, _: write_image(target, image)
            return
        film: Recording | None = None

        def write(image: Image, timestamp_s: float) -> None:
            nonlocal film
            if film is None:
                film = Recording(target, Size(*image.shape[:2]), fps=media.fps)
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
        suffix = ".mp4" if media.is_video else ".jpg" if media.path.suffix.lower() in _LOSSY_SUFFIXES else ".png"
        for number in count(1):
            name = f"{media.path.stem}{f'-{number}' if number > 1 else ''}{suffix}"
            if name.lower() not in self._taken and not identities([self.folder / name]) & self._inputs:
                self._taken.add(name.lower())
                return self.folder / name
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
