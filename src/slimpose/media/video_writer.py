"""Films of what was seen, as MP4, sound up to the last picture whenever the program dies."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import cv2

from slimpose.arrays import Image, Size
from slimpose.draw import resize_to_fit
from slimpose.formats.partial_file import PartialFile
from slimpose.media import mp4
from slimpose.media.video_reader import silence_opencv_logs


class VideoWriter:
    """An MP4 file that grows picture by picture, each with its own time.

    OpenCV writes no MP4 that survives a kill, and no times of one's own. So its encoder writes into
    a pipe, and each picture it gives becomes a fragment of the file at once (``formats/mp4.py``).
    Until ``finish`` the file is called NAME.partial.mp4, and can be played.

    Pictures keep the first one's size (rounded down to even sides): later ones of another size are
    fitted in.

    Raises:
        RuntimeError: If the encoder refuses, or the file cannot be written.
    """

    def __init__(self, path: Path, size: Size, *, fps: float) -> None:
        silence_opencv_logs()
        self.size = Size(max(2, size.height // 2 * 2), max(2, size.width // 2 * 2))
        self._file = PartialFile(path)
        self._times: deque[int] = deque()
        self._first_s: float | None = None
        self._last = -1
        self._given = 0
        self._number = 0
        self._length_at = 0
        self._usual = max(1, round(mp4.TIMESCALE_HZ / fps))
        self._failure: RuntimeError | None = None
        try:
            self._writer, pipe = self._open_encoder(fps)
        except RuntimeError:
            self._file.discard()
            raise
        self._thread = threading.Thread(
            target=self._pump, args=(pipe,), name=f"film {path.name}", daemon=True
        )
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file's name once it is finished."""
        return self._file.target

    def _open_encoder(self, fps: float) -> tuple[cv2.VideoWriter, BinaryIO]:
        size = (self.size.width, self.size.height)

        def open_writer(place: str) -> cv2.VideoWriter:
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(place, cv2.CAP_FFMPEG, fourcc, min(max(fps, 1.0), 240.0), size)
            if not writer.isOpened():
                raise RuntimeError(
                    f"cannot write {self.path}: OpenCV encodes no film of {size} pixels"
                )
            return writer

        return _with_fifo(open_writer) if hasattr(os, "mkfifo") else _with_socket(open_writer)

    def write(self, image: Image, timestamp_s: float) -> None:
        """Add a picture, RGB; times are told from the first one's, and one that does not increase is moved on.

        Raises:
            RuntimeError: If what came before could not be written.
        """
        if self._failure is not None:
            raise self._failure
        self._first_s = timestamp_s if self._first_s is None else self._first_s
        self._last = max(self._last + 1, round((timestamp_s - self._first_s) * mp4.TIMESCALE_HZ))
        self._times.append(self._last)
        self._given += 1
        whole = Size(image.shape[0] // 2 * 2, image.shape[1] // 2 * 2) == self.size
        image = (
            image[: self.size.height, : self.size.width]
            if whole
            else resize_to_fit(image, self.size)
        )
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def finish(self) -> None:
        """Write what is still under way and give the file its name.

        Raises:
            RuntimeError: If it could not be written.
        """
        self._close()
        if self._failure is None and self._number != self._given:
            self._failure = RuntimeError(
                f"cannot write {self.path}: {self._number} of {self._given} pictures arrived"
            )
        if self._failure is not None:
            raise self._failure
        self._file.finish()

    def close(self) -> None:
        """Write what is still under way and leave the file under its partial name."""
        self._close()
        self._file.close()

    def discard(self) -> None:
        """Remove the file, unless it is finished."""
        self._close()
        self._file.discard()

    def _close(self) -> None:
        self._writer.release()
        self._thread.join()

    def _pump(self, pipe: BinaryIO) -> None:
        """In a thread: encoded pictures from the pipe to the file, to the pipe's end whatever happens."""
        with pipe:
            for picture in _pictures_of_avi(pipe):
                if self._failure is None:
                    try:
                        self._put(picture)
                    except RuntimeError as error:
                        self._failure = error
                    except (ValueError, IndexError) as error:
                        self._failure = RuntimeError(f"cannot write {self.path}: {error}")

    def _put(self, picture: bytes) -> None:
        if self._number == 0:
            head = mp4.header(self.size, picture)
            self._file.append(head.data)
            self._length_at = head.duration_offset
        self._number += 1
        start = self._times.popleft()
        self._file.append(mp4.fragment(self._number, picture, start=start, duration=self._usual))
        self._file.overwrite(self._length_at, struct.pack(">Q", start + self._usual))


def _with_fifo(open_writer: Callable[[str], cv2.VideoWriter]) -> tuple[cv2.VideoWriter, BinaryIO]:
    """A writer into a named pipe, and the pipe's other end."""
    with tempfile.TemporaryDirectory(prefix="slimpose-") as folder:
        path = Path(folder) / "pictures.avi"
        os.mkfifo(path)
        handle = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK
        )  # else it would wait for the writer here
        try:
            writer = open_writer(str(path))
        except RuntimeError:
            os.close(handle)
            raise
    os.set_blocking(handle, True)
    return writer, os.fdopen(handle, "rb", buffering=1 << 16)


def _with_socket(open_writer: Callable[[str], cv2.VideoWriter]) -> tuple[cv2.VideoWriter, BinaryIO]:
    """The same through a connection within this machine, for systems without named pipes."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
        writer = open_writer(f"tcp://127.0.0.1:{listening.getsockname()[1]}/pictures.avi")
        connection, _ = listening.accept()
    with connection:  # the file below keeps it open
        return writer, connection.makefile("rb")


def _pictures_of_avi(pipe: BinaryIO) -> Iterator[bytes]:
    """The pictures of an AVI that comes through a pipe."""
    pipe.read(12)  # RIFF, a size, AVI
    while len(header := pipe.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        if name == b"LIST":
            if pipe.read(4) != b"movi":
                pipe.read(length - 4)
            continue
        body = pipe.read(length + length % 2)
        if name[2:] in (b"dc", b"db") and len(body) >= length > 0:
            yield body[:length]
