"""Reading live sources: cameras and network streams as they come, video files by their clock."""

from __future__ import annotations

import dataclasses
import math
import re
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
from slimpose.forks import InOneProcess
from slimpose.media import mjpeg
from slimpose.media.addresses import Address, SourceError
from slimpose.media.frame import ALL_FRAMES, Frame, FrameRange
from slimpose.media.images import to_rgb
from slimpose.media.mjpeg import LateFrameError, MotionJpegStream
from slimpose.media.sources import open_media
from slimpose.media.video_reader import (
    MAX_READ_FAILURES,
    pixel_aspect,
    read_bgr,
    silence_opencv_logs,
)

_MAX_WAIT_S = 5.0
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_EPOCH_S = time.time() - time.monotonic()


def clock_s() -> float:
    """Return the seconds since 1970 by the machine's clock at the start; it never goes back."""
    return _EPOCH_S + time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimeouts:
    """Time limits of a stream, in seconds.

    Attributes:
        open_s: For opening an address that does not answer.
        read_s: For reading a whole frame; after it the stream is lost.
        longest_read_s: For a frame of Motion JPEG where frames are rare; see ``ReadLimit``.
        first_retry_s: Before a lost stream is reopened; doubled after each failure.
        longest_retry_s: Upper limit of that.
        steady_s: After being live this long, a stream's next retry is first_retry_s again.
        black_s: Before black frames are reported.
        frozen_s: Before a stream that repeats one image is reopened; doubled after each time until
            its image changes.
    """

    open_s: float = 8.0
    read_s: float = 8.0
    longest_read_s: float = 60.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    steady_s: float = 2.0
    black_s: float = 5.0
    frozen_s: float = 30.0


DEFAULT_TIMEOUTS = StreamTimeouts()


class ReadLimit:
    """The time limit for a frame of a source of Motion JPEG: longer where frames are rare.

    A camera may send an image every ten seconds only. After a frame the limit is twice the time
    from the one before it, after none it is doubled.

    Attributes:
        timeouts: All time limits of the stream.
        seconds: The limit, ``read_s`` to ``longest_read_s``.
    """

    def __init__(self, timeouts: StreamTimeouts) -> None:
        self.timeouts, self.seconds = timeouts, timeouts.read_s

    @property
    def is_extended(self) -> bool:
        """Whether frames are rare, or none come."""
        return self.seconds > self.timeouts.read_s

    def adapt(self, waited_s: float) -> None:
        """Set it to twice the time that a frame took, or that none came for."""
        self.seconds = max(min(2 * waited_s, self.timeouts.longest_read_s), self.timeouts.read_s)


class VideoPlayer:
    """A video file that can be played repeatedly; its time continues when it starts again.

    Attributes:
        fps: Frame rate in the file's header; 0 before it is opened.
    """

    def __init__(
        self, address: Address, *, realtime: bool, frames: FrameRange = ALL_FRAMES
    ) -> None:
        self.fps = 0.0
        self._path, self._realtime, self._frames = Path(address.target), realtime, frames
        self._first_s = clock_s() if realtime else frames.start_s
        self._next_s = 0.0

    def play(self, stop: threading.Event) -> Generator[Frame, None, None]:
        """Yield the frames once; in real time each when it is due.

        Raises:
            SourceError: If it is not a video, or frames are missing (UnreadFramesError, after the
                last good one).
        """
        media = open_media(self._path, self._frames)
        if not media.is_video:
            raise SourceError("an image; expected a video (slimpose predict reads images)")
        self.fps = media.fps
        start_s = max(self._next_s, clock_s() - self._first_s) if self._realtime else self._next_s
        cpu_s = time.thread_time()
        for frame in media.frames:
            decode_ms = 1e3 * (time.thread_time() - cpu_s)
            played_s = start_s + frame.timestamp_s - self._frames.start_s
            timestamp_s = self._first_s + played_s
            self._next_s = played_s + 1 / media.fps
            early_s = timestamp_s - clock_s() if self._realtime else 0.0
            if stop.wait(early_s) if early_s > 0 else stop.is_set():
                return
            yield dataclasses.replace(
                frame,
                timestamp_s=timestamp_s,
                decode_ms=decode_ms,
                pixel_aspect=media.pixel_aspect,
            )
            cpu_s = time.thread_time()


def read_live(
    address: Address,
    limit: ReadLimit,
    stop: threading.Event,
    *,
    report: Callable[[str], None] = lambda message: None,
) -> Generator[Frame, None, None]:
    """Yield the frames of a camera or network stream until it ends; ``report`` gets notes on it.

    ``limit`` is what was learned of the source when it was read before.

    Raises:
        SourceError: If it cannot be opened or no more frames come; the message does not name it.
    """
    with closing(_open_live(address, limit, report)) as source:
        failures, is_late, is_first = 0, False, True
        good_s = time.monotonic()
        read_s = limit.seconds if isinstance(source, MotionJpegStream) else limit.timeouts.read_s
        while failures < MAX_READ_FAILURES and not (is_late or stop.is_set()):
            started_s, cpu_s = time.monotonic(), time.thread_time()
            try:
                image = source.read()
            except LateFrameError:
                limit.adapt(read_s)
                raise
            now_s = time.monotonic()
            # After its time limit FFmpeg may still return a buffered frame, then no more.
            is_late = now_s - started_s >= read_s
            if image is None:
                failures += 1
                is_late |= now_s - good_s > read_s
                continue
            if not is_first:
                limit.adapt(now_s - good_s)
            decode_ms = 1e3 * (time.thread_time() - cpu_s)
            yield Frame(
                image=image,
                timestamp_s=clock_s(),
                damaged_before=failures,
                decode_ms=decode_ms,
                pixel_aspect=source.pixel_aspect,
            )
            failures, is_first, good_s = 0, False, time.monotonic()
        raise SourceError("no frame arrived in time" if is_late else "the stream ended")


def _open_live(
    address: Address, limit: ReadLimit, report: Callable[[str], None]
) -> MotionJpegStream | _LiveCapture:
    timeouts = limit.timeouts
    if address.kind == "camera":
        capture, explain = _open_camera(address.target), _camera_problem
    else:
        if address.target.lower().startswith(("http://", "https://")) and _is_valid(address):
            stream = mjpeg.open_stream(
                address.target,
                timeout_s=timeouts.read_s,
                frame_timeout_s=limit.seconds,
                report=report,
            )
            if stream is not None:
                return stream
        capture, explain = _open_network(address.target, timeouts), _network_problem
    if not capture.isOpened():
        capture.release()
        raise SourceError(explain(address))
    return _PacedCapture(capture) if address.is_hls else _LiveCapture(capture)


class _LiveCapture:
    """A camera or network stream that OpenCV reads."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture, self._opened = capture, InOneProcess(capture)
        self.pixel_aspect = pixel_aspect(capture)

    def read(self) -> Image | None:
        bgr = read_bgr(self._capture)
        return to_rgb(bgr) if bgr is not None else None

    def close(self) -> None:
        if self._opened.is_here:
            self._capture.release()


class _PacedCapture(_LiveCapture):
    """An HLS stream: segments of seconds arrive at once, and are returned by their own clock."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        super().__init__(capture)
        self._offset_s: float | None = None  # of our clock to the stream's

    def read(self) -> Image | None:
        image = super().read()
        position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if image is None or not math.isfinite(position_s):
            return image
        now_s = time.monotonic()
        early_s = position_s + self._offset_s - now_s if self._offset_s is not None else 0.0
        if self._offset_s is None or abs(early_s) > _MAX_WAIT_S:  # the first, or after a jump
            self._offset_s = now_s - position_s
        elif early_s > 0:
            time.sleep(early_s)
        return image


def _open_camera(device: str) -> cv2.VideoCapture:
    """Open a camera by its number or the path of its device; it may not be open."""
    silence_opencv_logs()
    capture = cv2.VideoCapture(int(device) if device.isdecimal() else device)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, where the driver supports it
    return capture


def _open_network(url: str, timeouts: StreamTimeouts) -> cv2.VideoCapture:
    """Open a network stream with time limits for opening and reading; it may not be open."""
    silence_opencv_logs(hide_urls=True)
    options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * timeouts.open_s)]
    options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * timeouts.read_s)]
    options += [cv2.CAP_PROP_N_THREADS, 1]  # decoders hold back one frame per thread
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, options)


def _camera_problem(address: Address) -> str:
    device = f"/dev/video{address.target}" if address.target.isdecimal() else address.target
    if Path("/dev").is_dir() and not Path(device).exists():
        cameras = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        return f"there is no such camera: {device} does not exist (cameras here: {cameras})"
    return f"there is no such camera ({device}), or another program uses it"


def _is_valid(address: Address) -> bool:
    try:
        parts = urlsplit(address.target)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _network_problem(address: Address) -> str:
    """Find out by a connection why a stream cannot be opened, since OpenCV gives no reason."""
    if not _is_valid(address):
        return (
            "the address cannot be parsed "
            "(a / ? # or @ in the password has to be written as %2F %3F %23 %40)"
        )
    parts = urlsplit(address.target)
    port = parts.port or _PORTS[parts.scheme.lower()]
    try:
        with socket.create_connection((parts.hostname, port), timeout=2.0) as connection:
            if parts.scheme.lower() == "rtsp":
                return _rtsp_problem(connection, address)
    except socket.gaierror:
        return "the host name cannot be resolved"
    except TimeoutError:
        return "the host does not answer"
    except ConnectionRefusedError:
        return "the host refuses the connection (is the camera on, and the port right?)"
    except OSError as error:
        return f"the host cannot be reached: {error.strerror or type(error).__name__}"
    return "the host answers, but sends no video (are the path, the user and the password right?)"


def _rtsp_problem(connection: socket.socket, address: Address) -> str:
    """Find out why a connected RTSP server sends no video, by a request without the login."""
    parts = urlsplit(address.target)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    request = f"DESCRIBE {place} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    try:
        connection.sendall(request.encode())
        answer = connection.makefile("rb").readline(200)
    except OSError:
        answer = b""
    status = re.match(rb"RTSP/\d\.\d (\d{3})\b", answer)
    if status is None:
        return "the host accepts the connection and does not answer"
    code = int(status[1])
    if code == 401 and parts.username is None:
        return "a user and a password are required (RTSP 401)"
    if code == 401:
        return "no video with this login (are the user, the password and the path right?)"
    if code == 404:
        return "nothing is at this path (RTSP 404)"
    if code == 200:
        return "a stream is at this path, but no frame arrived in time"
    return f"the host refuses (RTSP {code})"
