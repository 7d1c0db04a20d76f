"""Writing MP4 videos that stay playable if the program is killed."""

from __future__ import annotations

import logging
import os
import socket
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import cv2

from slimpose.arrays import Image, Size
from slimpose.draw import resize_to_fit
from slimpose.formats.partial_file import PartialFile
from slimpose.media import mp4
from slimpose.media.frame import SQUARE
from slimpose.media.video_reader import silence_opencv_logs

MAX_SIDE = 8190
"""Of a frame in pixels: MPEG-4 Part 2 has 13 bits for it, and sides are even."""
_log = logging.getLogger("slimpose")


class VideoWriter:
    """Writes an MP4 file frame by frame, each frame with its own time.

    MP4 files written by OpenCV cannot be played after a kill, and have a constant frame rate. So
    its encoder writes into a pipe, and each encoded frame becomes a fragment of the file at once
    (``media/mp4.py``). Until ``finish`` the file is called NAME.partial.mp4 and can be played.

    All frames have the size of the first one, with sides rounded down to even numbers; frames of
    another size are scaled to fit. So are frames with a side of over MAX_SIDE, with a warning.

    Args:
        path: The file.
        size: Size of the frames.
        fps: Usual frame rate: the encoder's rate, and the display time of the last frame.
        pixel_aspect: Width of a pixel relative to its height.

    Raises:
        RuntimeError: If OpenCV cannot encode the size, or the file cannot be written.
    """

    def __init__(
        self, path: Path, size: Size, *, fps: float, pixel_aspect: Fraction = SQUARE
    ) -> None:
        silence_opencv_logs()
        self.size = _encodable(size)
        self._pixel_aspect = pixel_aspect
        if max(size) > MAX_SIDE:
            _log.warning(
                "%s: its frames are %dx%d instead of %dx%d pixels; MPEG-4 has at most 8191 a side",
                *(path, self.size.width, self.size.height, size.width, size.height),
            )
        self._file = PartialFile(path)
        self._times: deque[int] = deque()  # of the frames in the encoder
        self._first_s: float | None = None
        self._last_time = -1
        self._frames_received = 0
        self._frames_written = 0
        self._duration_offset = 0
        self._frame_duration = max(1, round(mp4.TIMESCALE_HZ / fps))
        self._failure: RuntimeError | None = None
        try:
            self._encoder, pipe = self._open_encoder(fps)
        except RuntimeError:
            self._file.discard()
            raise
        self._thread = threading.Thread(
            target=self._write_encoded, args=(pipe,), name=f"video {path.name}", daemon=True
        )
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file's path after ``finish``."""
        return self._file.target

    def _open_encoder(self, fps: float) -> tuple[cv2.VideoWriter, BinaryIO]:
        size = (self.size.width, self.size.height)

        def open_encoder(address: str) -> cv2.VideoWriter:
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            rate = min(max(fps, 1.0), 240.0)
            encoder = cv2.VideoWriter(address, cv2.CAP_FFMPEG, fourcc, rate, size)
            if not encoder.isOpened():
                raise RuntimeError(
                    f"cannot write {self.path}: OpenCV cannot encode video of {size} pixels"
                )
            return encoder

        return _with_fifo(open_encoder) if hasattr(os, "mkfifo") else _with_socket(open_encoder)

    def write(self, image: Image, timestamp_s: float) -> None:
        """Append a frame.

        Args:
            image: The frame, RGB.
            timestamp_s: Its time; the first frame's becomes 0. A time that does not increase is
                moved to just after the previous one.

        Raises:
            RuntimeError: If an earlier frame could not be written.
        """
        if self._failure is not None:
            raise self._failure
        self._first_s = timestamp_s if self._first_s is None else self._first_s
        time = round((timestamp_s - self._first_s) * mp4.TIMESCALE_HZ)
        self._last_time = max(self._last_time + 1, time)
        self._times.append(self._last_time)
        self._frames_received += 1
        if Size(image.shape[0] // 2 * 2, image.shape[1] // 2 * 2) == self.size:
            image = image[: self.size.height, : self.size.width]
        else:
            image = resize_to_fit(image, self.size)
        self._encoder.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def finish(self) -> None:
        """Write the remaining frames and rename the file to its final name.

        Raises:
            RuntimeError: If they could not be written.
        """
        self._close_encoder()
        if self._failure is None and self._frames_written != self._frames_received:
            self._failure = RuntimeError(
                f"cannot write {self.path}: the encoder returned {self._frames_written} of "
                f"{self._frames_received} frames"
            )
        if self._failure is not None:
            raise self._failure
        self._file.finish()

    def close(self) -> None:
        """Write the remaining frames and leave the file under its partial name."""
        self._close_encoder()
        self._file.close()

    def discard(self) -> None:
        """Remove the file, unless it is finished."""
        self._close_encoder()
        self._file.discard()

    def _close_encoder(self) -> None:
        self._encoder.release()
        self._thread.join()

    def _write_encoded(self, pipe: BinaryIO) -> None:
        """Write encoded frames to the file; runs in a thread.

        Reads to the end of the pipe even after a failure, so that the encoder does not block.
        """
        with pipe:
            for frame in _frames_of_avi(pipe):
                if self._failure is None:
                    try:
                        self._append(frame)
                    except RuntimeError as error:
                        self._failure = error
                    except (ValueError, IndexError) as error:
                        self._failure = RuntimeError(f"cannot write {self.path}: {error}")

    def _append(self, frame: bytes) -> None:
        if self._frames_written == 0:
            header = mp4.header(self.size, frame, pixel_aspect=self._pixel_aspect)
            self._file.append(header.data)
            self._duration_offset = header.duration_offset
        self._frames_written += 1
        start, duration = self._times.popleft(), self._frame_duration
        self._file.append(mp4.fragment(self._frames_written, frame, start=start, duration=duration))
        self._file.overwrite(self._duration_offset, struct.pack(">Q", start + duration))


def _encodable(size: Size) -> Size:
    """The size with even sides of at most MAX_SIDE, nearly the same shape."""
    scale = min(1.0, MAX_SIDE / max(size))
    return Size(*(max(2, int(scale * side) // 2 * 2) for side in size))


def _with_fifo(open_encoder: Callable[[str], cv2.VideoWriter]) -> tuple[cv2.VideoWriter, BinaryIO]:
    """Open an encoder that writes into a named pipe; return it and the pipe's other end."""
    with tempfile.TemporaryDirectory(prefix="slimpose-") as folder:
        path = Path(folder) / "frames.avi"
        os.mkfifo(path)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # blocking, it would wait for a writer
        try:
            encoder = open_encoder(str(path))
        except RuntimeError:
            os.close(handle)
            raise
    os.set_blocking(handle, True)
    return encoder, os.fdopen(handle, "rb", buffering=1 << 16)


def _with_socket(
    open_encoder: Callable[[str], cv2.VideoWriter],
) -> tuple[cv2.VideoWriter, BinaryIO]:
    """The same over a local socket, for systems without named pipes."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        encoder = open_encoder(f"tcp://127.0.0.1:{server.getsockname()[1]}/frames.avi")
        connection, _ = server.accept()
    with connection:  # the file below keeps it open
        return encoder, connection.makefile("rb")


def _frames_of_avi(pipe: BinaryIO) -> Iterator[bytes]:
    """Yield the encoded frames of an AVI file read from a pipe."""
    pipe.read(12)  # RIFF, a size, AVI
    while len(chunk_header := pipe.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk_header)
        if name == b"LIST":
            if pipe.read(4) != b"movi":
                pipe.read(length - 4)
            continue
        body = pipe.read(length + length % 2)
        if name[2:] in (b"dc", b"db") and len(body) >= length > 0:
            yield body[:length]
