"""Encoding frames as MPEG-4 Part 2 in MP4 with OpenCV's encoder: the base install's videos."""

from __future__ import annotations

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
from slimpose.forks import InOneProcess
from slimpose.formats.partial_file import PartialFile
from slimpose.media import mp4
from slimpose.media.video_reader import silence_opencv_logs


class Mpeg4Encoder:
    """Encodes frames with OpenCV and writes each as a fragment of an MP4 file.

    MP4 files written by OpenCV cannot be played after a kill, and have a constant frame rate. So
    its encoder writes into a pipe, and each encoded frame becomes a fragment of the file at once
    (``media/mp4.py``). Browsers do not play MPEG-4 Part 2.

    Raises:
        RuntimeError: If OpenCV cannot encode the size.
    """

    def __init__(
        self, file: PartialFile, size: Size, *, fps: float, pixel_aspect: Fraction
    ) -> None:
        silence_opencv_logs()
        self._file, self._size, self._pixel_aspect = file, size, pixel_aspect
        self._times: deque[int] = deque()  # of the frames in the encoder
        self._frames_received = 0
        self._frames_written = 0
        self._duration_offset = 0
        self._frame_duration = max(1, round(mp4.TIMESCALE_HZ / fps))
        self._failure: RuntimeError | None = None
        self._encoder, pipe = self._open_encoder(fps)
        self._opened = InOneProcess(self._encoder)
        self._thread = threading.Thread(
            target=self._write_encoded, args=(pipe,), name=f"video {file.target.name}", daemon=True
        )
        self._thread.start()

    def _open_encoder(self, fps: float) -> tuple[cv2.VideoWriter, BinaryIO]:
        size = (self._size.width, self._size.height)

        def open_encoder(address: str) -> cv2.VideoWriter:
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            rate = min(max(fps, 1.0), 240.0)
            encoder = cv2.VideoWriter(address, cv2.CAP_FFMPEG, fourcc, rate, size)
            if not encoder.isOpened():
                raise RuntimeError(
                    f"cannot write {self._file.target}: OpenCV cannot encode video of {size} pixels"
                )
            return encoder

        return _with_fifo(open_encoder) if hasattr(os, "mkfifo") else _with_socket(open_encoder)

    def write(self, image: Image, ticks: int) -> None:
        """Encode a frame; ``ticks`` is its time in units of 1 / TIMESCALE_HZ.

        Raises:
            RuntimeError: If an earlier frame could not be written.
        """
        if self._failure is not None:
            raise self._failure
        self._times.append(ticks)
        self._frames_received += 1
        self._encoder.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Write the remaining frames.

        Raises:
            RuntimeError: If a frame could not be written.
        """
        if not self._opened.is_here:
            return
        self._encoder.release()
        self._thread.join()
        if self._failure is None and self._frames_written != self._frames_received:
            self._failure = RuntimeError(
                f"cannot write {self._file.target}: the encoder returned {self._frames_written} "
                f"of {self._frames_received} frames"
            )
        if self._failure is not None:
            raise self._failure

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
                        self._failure = RuntimeError(f"cannot write {self._file.target}: {error}")

    def _append(self, frame: bytes) -> None:
        if self._frames_written == 0:
            header = mp4.header(self._size, frame, pixel_aspect=self._pixel_aspect)
            self._file.append(header.data)
            self._duration_offset = header.duration_offset
        self._frames_written += 1
        start, duration = self._times.popleft(), self._frame_duration
        self._file.append(mp4.fragment(self._frames_written, frame, start=start, duration=duration))
        self._file.overwrite(self._duration_offset, struct.pack(">Q", start + duration))


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
