"""A live source: a thread reads it, reopens it when it is lost, and keeps its newest frame."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal
from weakref import WeakSet

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.media.addresses import Address, SourceError, plain_reason
from slimpose.media.frame import ALL_FRAMES, SQUARE, Frame, FrameRange
from slimpose.media.images import ImageError
from slimpose.media.stream_reader import (
    DEFAULT_TIMEOUTS,
    ReadLimit,
    StreamTimeouts,
    VideoPlayer,
    read_live,
)
from slimpose.media.video_reader import UnreadFramesError
from slimpose.messages import printable

StreamState = Literal["connecting", "live", "waiting", "ended"]

_log = logging.getLogger(__name__)

_BLACK_LEVEL = 24
"""A frame without a gray level of this or more is black."""


class FreezeCheck:
    """Finds out that a stream repeats one image: cameras do that when their encoder hangs.

    Args:
        limit_s: After this time with one image it is frozen; a camera's noise changes some pixel.

    Attributes:
        is_frozen: Whether it is.
        duration_s: How long the last freeze had lasted when it was found.
    """

    def __init__(self, limit_s: float) -> None:
        self._first_limit_s = self._limit_s = limit_s
        self._image: Image | None = None
        self._since_s = 0.0
        self._is_first = True
        self.is_frozen, self.duration_s = False, 0.0

    def start(self) -> None:
        """Note that the stream was opened again."""
        self._is_first = True

    def begins(self, image: Image, now_s: float) -> bool:
        """Return whether a freeze begins; call it with a new image about every second."""
        is_first, self._is_first = self._is_first, False
        if self._image is None or not _are_equal(self._image, image):
            self._image, self._since_s = image, now_s
            if not is_first:  # an encoder that starts again changes the image a little
                self.is_frozen, self._limit_s = False, self._first_limit_s
            return False
        self.duration_s = now_s - self._since_s
        if self.duration_s < self._limit_s:
            return False
        self.is_frozen, self._since_s = True, now_s
        self._limit_s *= 2
        return True


def _are_equal(a: Image, b: Image) -> bool:
    """Whether two images are; most differ in one of few pixels."""
    return a.shape == b.shape and np.array_equal(a[::8, ::8], b[::8, ::8]) and np.array_equal(a, b)


@dataclass(slots=True, kw_only=True)
class StreamStatus:
    """The state of a stream.

    Attributes:
        name: Its address, redacted.
        state: What its thread is doing.
        problem: Why it is not live, or what is wrong with its frames; empty if nothing is.
        received: Number of frames received.
        dropped: Number of frames that a newer one replaced before they were taken.
        damaged: Number of frames that could not be decoded.
        connections: How often it was opened successfully.
        size: Size of its frames; None before the first.
        fps: Frame rate in a file's header; 0 for other sources.
        decode_ms: CPU time spent reading and decoding so far.
        pixel_aspect: Width of a pixel of its frames relative to its height.
    """

    name: str
    state: StreamState = "connecting"
    problem: str = ""
    received: int = 0
    dropped: int = 0
    damaged: int = 0
    connections: int = 0
    size: Size | None = None
    fps: float = 0.0
    decode_ms: float = 0.0
    pixel_aspect: Fraction = SQUARE

    @property
    def text(self) -> str:
        """State and problem, such as "waiting: the host does not answer"."""
        return f"{self.state}: {self.problem}" if self.problem else self.state


_started: WeakSet[Stream] = WeakSet()


def end_all_streams(timeout_s: float) -> bool:
    """Ask the threads of all streams to end; return whether all did within a time.

    A thread inside OpenCV when the interpreter ends would abort the process, so every process waits
    at its end for the read that each is in.
    """
    running = list(_started)
    for stream in running:
        stream.stop()
    deadline_s = time.monotonic() + timeout_s
    ended = [stream.join(max(0.0, deadline_s - time.monotonic())) for stream in running]
    return all(ended)


atexit.register(end_all_streams, DEFAULT_TIMEOUTS.open_s + 1.0)


class Stream:
    """A source and the thread that reads it.

    A camera or network stream keeps its newest frame only: a frame that is not taken in time is
    dropped and counted. A video file waits until each frame is taken, or with ``realtime`` plays by
    its clock like a camera.

    Args:
        address: The source.
        camera: Its number.
        changed: Notified on every change; shared by streams that are read together.
        report: Called from the thread with messages for the user.
        realtime: Whether a video file plays in real time.
        loop: Whether a video file starts again at its end.
        frames: Which frames are taken; start and end are for video files only.
        timeouts: Time limits.
    """

    def __init__(
        self,
        address: Address,
        *,
        camera: int,
        changed: threading.Condition,
        report: Callable[[str], None],
        realtime: bool = False,
        loop: bool = False,
        frames: FrameRange = ALL_FRAMES,
        timeouts: StreamTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.address = address
        self._camera, self._changed, self._send_report = camera, changed, report
        self._timeouts, self._limit = timeouts, ReadLimit(timeouts)
        self._file: VideoPlayer | None = None
        if address.kind == "file":
            played = dataclasses.replace(frames, every=1)
            self._file = VideoPlayer(address, realtime=realtime, frames=played)
        self._every = frames.every
        self._waits_for_taker, self._loop = self._file is not None and not realtime, loop
        self._stop = threading.Event()
        self._newest: Frame | None = None
        self._newest_view = 0
        self._status = StreamStatus(name=address.name)
        self._is_black = False
        self._freeze = FreezeCheck(timeouts.frozen_s)
        self._returned: deque[int] = deque(maxlen=1000)  # checksums of the frames of an HLS stream
        self._noted: set[str] = set()
        self._view, self._taken_view = 0, -1
        self._bright_s = self._checked_s = self._live_since_s = 0.0
        self._lost_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream {camera}", daemon=True)

    def start(self) -> None:
        """Start reading."""
        _started.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does so when its current read returns."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; return whether it did."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def take(self) -> Frame | None:
        """Return the newest frame not yet taken, None without one; the caller holds ``changed``."""
        frame, self._newest = self._newest, None
        if frame is None:
            return None
        self._changed.notify_all()
        is_new_view, self._taken_view = self._newest_view != self._taken_view, self._newest_view
        return dataclasses.replace(frame, is_new_view=is_new_view)

    @property
    def has_ended(self) -> bool:
        """Whether no more frames will come; the caller holds ``changed``."""
        return self._status.state == "ended" and self._newest is None

    def status(self) -> StreamStatus:
        """Return a copy of the current state."""
        with self._changed:
            status = self._status
            problem = status.problem or ("black image" if self._is_black else "")
            problem = problem or ("frozen image" if self._freeze.is_frozen else "")
            fps = self._file.fps if self._file is not None else 0.0
            return dataclasses.replace(status, problem=problem, fps=fps)

    # The methods below run in the thread.

    def _run(self) -> None:
        retry_s, reported = self._timeouts.first_retry_s, ""
        problem = "its reader failed"
        try:
            while not self._stop.is_set():
                self._enter("connecting", self._status.problem)
                reason = self.address.redact(self._read_until_end())
                reason = reason.removeprefix(f"{self.address.name}: ")
                if self._stop.is_set():
                    break
                if self._file is not None and not (self._loop and self._status.received):
                    problem = reason
                    if reason:
                        self._report(reason)
                    return
                if not reason:  # a video file that starts again
                    continue
                now_s = time.monotonic()
                if (
                    self._status.state == "live"
                    and now_s - self._live_since_s >= self._timeouts.steady_s
                ):
                    retry_s, reported = self._timeouts.first_retry_s, ""
                self._lost_s = now_s if self._lost_s is None else self._lost_s
                self._enter("waiting", reason)
                if reason != reported:
                    until = "" if self._status.connections else " until it opens (Ctrl-C ends)"
                    self._report(f"{reason}; trying again{until}")
                    reported = reason
                self._stop.wait(retry_s)
                if not self._limit.is_extended:  # which is a wait of its own
                    retry_s = min(2 * retry_s, self._timeouts.longest_retry_s)
            problem = self._status.problem
        finally:
            self._enter("ended", problem)
            _log.info(
                "%s: ended; %d frames received, %d dropped, %d damaged, opened %d times",
                printable(self.address.name),
                self._status.received,
                self._status.dropped,
                self._status.damaged,
                self._status.connections,
            )

    def _report(self, message: str, level: int = logging.WARNING) -> None:
        text = printable(self.address.redact(message))
        _log.log(level, "%s: %s", printable(self.address.name), text)
        self._send_report(message)

    def _report_once(self, message: str) -> None:
        """Report a note that holds for every connection."""
        if message not in self._noted:
            self._noted.add(message)
            self._report(message)

    def _enter(self, state: StreamState, problem: str) -> None:
        with self._changed:
            self._status.state, self._status.problem = state, problem
            self._view += state != "live"
            self._changed.notify_all()

    def _read_until_end(self) -> str:
        """Read the source until it ends; return why, or an empty text if it is just over."""
        if self._file is not None:
            source = self._file.play(self._stop)
        else:
            source = read_live(self.address, self._limit, self._stop, report=self._report_once)
        try:
            with closing(source):
                for frame in source:
                    if self._stop.is_set():
                        return ""
                    self._update_state(frame)
                    self._publish(frame)
        except UnreadFramesError as error:
            if self._status.connections == 1:
                self._report(str(error).removeprefix(f"{self.address.name}: "))
        except (SourceError, ImageError) as error:
            return str(error)
        except (cv2.error, OSError, MemoryError, RuntimeError) as error:
            return f"it cannot be read: {plain_reason(error)}"
        return ""

    def _update_state(self, frame: Frame) -> None:
        """Update the state with a new frame; report what has changed."""
        now_s = time.monotonic()
        if self.address.is_hls:
            self._check_repeated(frame.image)
        if self._status.state != "live":
            self._enter("live", "")
            self._status.connections += 1
            self._live_since_s = self._bright_s = now_s
            self._freeze.start()
            _log.info("%s: live", printable(self.address.name))
            if self._lost_s is not None:
                self._report(f"frames again after {now_s - self._lost_s:.0f} s", logging.INFO)
                self._lost_s = None
        if frame.damaged_before and not self._status.damaged:
            self._report("a damaged frame was skipped; further ones are only counted")
        self._status.damaged += frame.damaged_before
        self._status.decode_ms += frame.decode_ms
        black_s = self._timeouts.black_s
        interval_s = min(1.0, black_s / 2, self._timeouts.frozen_s / 4)
        if self._file is None and now_s - self._checked_s >= interval_s:
            self._checked_s = now_s
            self._check_black(frame.image, now_s)
            self._check_frozen(frame.image, now_s)

    def _check_repeated(self, image: Image) -> None:
        """Raise SourceError where an HLS stream is opened again, and no segment was added to it."""
        checksum = zlib.crc32(image[::4, ::4].tobytes())
        if self._status.state != "live" and checksum in self._returned:
            raise SourceError("it has sent nothing new since it was lost")
        self._returned.append(checksum)

    def _check_black(self, image: Image, now_s: float) -> None:
        """Report frames that turn black for a while, and their end."""
        if int(image[::8, ::8].max()) >= _BLACK_LEVEL:
            self._bright_s = now_s
            if self._is_black:
                self._report("no longer black", logging.INFO)
            self._is_black = False
        elif not self._is_black and now_s - self._bright_s >= self._timeouts.black_s:
            self._is_black = True
            self._report(
                f"black image for {self._timeouts.black_s:g} s (lens covered, or camera asleep?)"
            )

    def _check_frozen(self, image: Image, now_s: float) -> None:
        """Report the end of a freeze; raise SourceError where one begins, to reopen the stream."""
        was_frozen = self._freeze.is_frozen
        if not self._is_black and self._freeze.begins(image, now_s):
            raise SourceError(f"the same image for {self._freeze.duration_s:.0f} s (frozen?)")
        if was_frozen and not self._freeze.is_frozen:
            self._report("its image changes again", logging.INFO)

    def _publish(self, frame: Frame) -> None:
        """Make the frame the newest; a file that is not in real time waits for the last one."""
        size = Size(*frame.image.shape[:2])
        message, status = "", self._status
        with self._changed:
            if status.received % self._every:
                status.received += 1
                return
            while self._waits_for_taker and self._newest is not None and not self._stop.is_set():
                self._changed.wait(1.0)
            if self._stop.is_set():
                return
            before, status.size = status.size, size
            if before is not None and before != size:
                self._view += 1
                old, new = (f"{it.width}x{it.height}" for it in (before, size))
                message = f"its frame size changed from {old} to {new} pixels"
            status.pixel_aspect = frame.pixel_aspect
            is_dropped = self._newest is not None
            status.dropped += is_dropped
            self._newest = dataclasses.replace(
                frame, camera=self._camera, index=status.received, arrival_s=time.monotonic()
            )
            self._newest_view = self._view  # whether it is a new view is known when it is taken
            status.received += 1
            self._changed.notify_all()
        if is_dropped:
            _log.debug("%s: a frame was dropped for a newer one", printable(self.address.name))
        if message:
            self._report(message)
