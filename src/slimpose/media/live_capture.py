"""Pictures of one source from its opening to its end: of cameras as they come, of films by their clock."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from slimpose.arrays import Image
from slimpose.media import capture as captures
from slimpose.media import mjpeg
from slimpose.media.addresses import Address, SourceError
from slimpose.media.mjpeg import MotionJpegStream
from slimpose.media.sources import open_media

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_EPOCH_S = time.time() - time.monotonic()


def clock_s() -> float:
    """Seconds since 1970, as the machine's clock told them at the start; unlike that clock's they never go back."""
    return _EPOCH_S + time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimeouts:
    """How long a stream is waited for, in seconds.

    Attributes:
        open_s: Until an address that does not answer is given up.
        read_s: Until a stream that sends nothing more is lost.
        first_retry_s: Before a lost stream is opened again; doubled each time.
        longest_retry_s: At most that.
        steady_s: A stream that was live for so long starts over with first_retry_s.
        black_s: Until black pictures are told.
    """

    open_s: float = 8.0
    read_s: float = 5.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    steady_s: float = 2.0
    black_s: float = 5.0


DEFAULT_TIMEOUTS = StreamTimeouts()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A picture that came.

    Attributes:
        image: RGB uint8.
        timestamp_s: When it was taken: of arrival for a live one (``clock_s``), in the film for a
            file's.
        damaged: Pictures before it that could not be decoded.
        decode_ms: CPU time of the thread that read it.
    """

    image: Image
    timestamp_s: float
    damaged: int
    decode_ms: float


def live(
    address: Address, patience: StreamTimeouts, stop: threading.Event
) -> Generator[Arrival, None, None]:
    """Yield a camera's or network stream's pictures until it ends.

    Raises:
        SourceError: If it cannot be opened, or nothing comes any more; the message does not name
            it.
    """
    with closing(_opened(address, patience)) as source:
        failures, late_s = 0, float("-inf")
        while failures < captures.MAX_READ_FAILURES and not stop.is_set():
            asked_s, used_s = time.monotonic(), time.thread_time()
            image = source.read()
            if time.monotonic() - asked_s > 0.9 * patience.read_s:
                late_s = time.monotonic()  # FFmpeg may still give what it holds, then no more
            if image is None:
                failures += 1
                continue
            used_ms = 1e3 * (time.thread_time() - used_s)
            yield Arrival(image=image, timestamp_s=clock_s(), damaged=failures, decode_ms=used_ms)
            failures = 0
        is_late = time.monotonic() - late_s < 1.0
        raise SourceError("no picture came in time" if is_late else "the stream ended")


def _opened(address: Address, patience: StreamTimeouts) -> MotionJpegStream | _Capture:
    if address.kind == "camera":
        number = address.target
        capture = captures.open_camera(int(number) if number.isdecimal() else number)
        return _Capture(capture, address, _why_no_camera)
    if address.target.lower().startswith("http://") and _is_sane(address):
        stream = mjpeg.open_stream(address.target, timeout_s=patience.read_s)
        if stream is not None:
            return stream
    capture = captures.open_network(address.target, open_s=patience.open_s, read_s=patience.read_s)
    return _Capture(capture, address, _why_unreachable)


class _Capture:
    """A camera or network stream that OpenCV reads."""

    def __init__(
        self, capture: cv2.VideoCapture, address: Address, why_not: Callable[[Address], str]
    ) -> None:
        self._capture = capture
        if not capture.isOpened():
            capture.release()
            raise SourceError(why_not(address))

    def read(self) -> Image | None:
        bgr = captures.read_bgr(self._capture)
        return captures.to_rgb(bgr) if bgr is not None else None

    def close(self) -> None:
        self._capture.release()


class VideoFile:
    """A video file, as often as it is played: its time goes on when it starts over.

    Attributes:
        fps: Pictures a second, as the file says; 0 before it is opened.
    """

    def __init__(self, address: Address, *, realtime: bool) -> None:
        self.fps = 0.0
        self._address, self._realtime = address, realtime
        self._first_s = clock_s() if realtime else 0.0
        self._next_s = 0.0

    def play(self, stop: threading.Event) -> Generator[Arrival, None, None]:
        """Yield the pictures once; in real time each when it is due.

        Raises:
            SourceError: If it is no video, or pictures are missing (IncompleteError, after the last
                sound one).
        """
        media = open_media(Path(self._address.target))
        if not media.is_video:
            raise SourceError("a picture; expected a video (slimpose predict looks at pictures)")
        self.fps = media.fps
        start_s = max(self._next_s, clock_s() - self._first_s) if self._realtime else self._next_s
        used_s = time.thread_time()
        for frame in media.frames:
            used_ms = 1e3 * (time.thread_time() - used_s)
            timestamp_s = self._first_s + start_s + frame.timestamp_s
            self._next_s = start_s + frame.timestamp_s + 1 / media.fps
            early_s = timestamp_s - clock_s() if self._realtime else 0.0
            if stop.wait(early_s) if early_s > 0 else stop.is_set():
                return
            yield Arrival(image=frame.image, timestamp_s=timestamp_s, damaged=0, decode_ms=used_ms)
            used_s = time.thread_time()


def _why_no_camera(address: Address) -> str:
    device = f" (/dev/video{address.target})" if address.target.isdecimal() else ""
    return f"there is no such camera{device}, or another program has it"


def _is_sane(address: Address) -> bool:
    try:
        parts = urlsplit(address.target)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _why_unreachable(address: Address) -> str:
    """What a connection of our own tells, since OpenCV gives no reason."""
    if not _is_sane(address):
        return "the address cannot be understood (a / ? # or @ in the password has to be written as %2F %3F %23 %40)"
    parts = urlsplit(address.target)
    try:
        socket.create_connection(
            (parts.hostname, parts.port or _PORTS[parts.scheme.lower()]), timeout=2.0
        ).close()
    except socket.gaierror:
        return "no host of this name is known here"
    except TimeoutError:
        return "the host does not answer"
    except ConnectionRefusedError:
        return "the host refuses the connection (is the camera on, and the port right?)"
    except OSError as error:
        return f"the host cannot be reached: {error.strerror or type(error).__name__}"
    return "the host answers, but no video comes (is the path right, and user and password?)"
