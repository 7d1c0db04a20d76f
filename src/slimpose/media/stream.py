"""A source that is watched: a thread reads it, loses it, opens it again, and keeps its newest picture at hand."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import cv2

from slimpose.arrays import Image, Size
from slimpose.media.addresses import Address, SourceError
from slimpose.media.images import ImageError
from slimpose.media.live_capture import DEFAULT_TIMEOUTS, Arrival, StreamTimeouts, VideoFile, live
from slimpose.media.sources import UnreadFramesError

StreamState = Literal["connecting", "live", "waiting", "ended"]

_BLACK = 24
"""A picture without a gray level over it is black."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """What a stream gives.

    Attributes:
        camera: Which stream, from 0.
        frame: Its number among the pictures that came, those dropped included.
        image: RGB uint8.
        timestamp_s: When it was taken. A live one's is the time of arrival, in seconds since 1970
            that never go back; a file's the time in the film, which goes on when it starts over.
        arrived_s: When it was decoded, on the monotonic clock.
        is_new_view: Whether it does not follow from the one taken before: the first, after a gap,
            of another size.
    """

    camera: int
    frame: int
    image: Image
    timestamp_s: float
    arrived_s: float
    is_new_view: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """How a stream is doing.

    Attributes:
        name: Its address, redacted.
        state: What its thread is at.
        trouble: Why it is not live, or what is wrong with its pictures; empty if nothing is.
        received: Pictures that came.
        dropped: Those that a newer one replaced before anybody took them.
        damaged: Those that could not be decoded.
        connections: How often it came alive.
        size: Of its pictures; None before the first.
        fps: Of a file, as it says itself; 0 for others.
        decode_ms: CPU time that reading has taken so far.
    """

    name: str
    state: StreamState
    problem: str
    received: int
    dropped: int
    damaged: int
    connections: int
    size: Size | None
    fps: float
    decode_ms: float


class Stream:
    """One source and the thread that reads it.

    A camera or network stream keeps only its newest picture: what nobody took in time is dropped
    and counted. A film waits until each of its pictures is taken, or with ``realtime`` is played by
    its clock as if it were a camera.

    Args:
        address: The source.
        camera: Its number.
        news: Notified whenever something changed; shared by streams that are watched together.
        tell: Called from the thread with words for the user.
        realtime: Whether a film is played as if it were live.
        loop: Whether a film starts over at its end.
        patience: How long it is waited for.
    """

    def __init__(
        self,
        address: Address,
        *,
        camera: int,
        new_frame: threading.Condition,
        report: Callable[[str], None],
        realtime: bool = False,
        loop: bool = False,
        timeouts: StreamTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.address = address
        self._camera, self._news, self._tell, self._patience = camera, new_frame, report, timeouts
        self._film = VideoFile(address, realtime=realtime) if address.kind == "file" else None
        self._waits_for_taker, self._loop = self._film is not None and not realtime, loop
        self._stop = threading.Event()
        self._slot: Picture | None = None
        self._slot_view = 0
        self._state: StreamState = "connecting"
        self._trouble = ""
        self._is_black = False
        self._view, self._taken_view = 0, -1
        self._received = self._dropped = self._damaged = self._connections = 0
        self._decode_ms = 0.0
        self._size: Size | None = None
        self._bright_s = self._black_checked_s = self._live_since_s = 0.0
        self._lost_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream {camera}", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does when the read it is in comes back."""
        self._stop.set()
        with self._news:
            self._news.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; return whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def take(self) -> Picture | None:
        """Return the newest picture that nobody has taken; None without one. Hold ``news`` while you call it."""
        picture, self._slot = self._slot, None
        if picture is None:
            return None
        self._news.notify_all()
        is_new_view, self._taken_view = self._slot_view != self._taken_view, self._slot_view
        return dataclasses.replace(picture, is_new_view=is_new_view)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will come any more. Hold ``news`` while you ask."""
        return self._state == "ended" and self._slot is None

    def status(self) -> StreamStatus:
        """How it is doing now."""
        with self._news:
            return StreamStatus(
                name=self.address.name,
                state=self._state,
                problem=self._trouble or ("black pictures" if self._is_black else ""),
                received=self._received,
                dropped=self._dropped,
                damaged=self._damaged,
                connections=self._connections,
                size=self._size,
                fps=self._film.fps if self._film is not None else 0.0,
                decode_ms=self._decode_ms,
            )

    # The rest runs in the thread.

    def _run(self) -> None:
        retry_s, told = self._patience.first_retry_s, ""
        trouble = "its reader failed"
        try:
            while not self._stop.is_set():
                self._enter("connecting", self._trouble)
                reason = self.address.safe(self._play()).removeprefix(f"{self.address.name}: ")
                if self._stop.is_set():
                    break
                if self._film is not None and not (self._loop and self._received):
                    trouble = reason
                    if reason:
                        self._tell(reason)
                    return
                if not reason:  # a film that starts over
                    continue
                now_s = time.monotonic()
                if self._state == "live" and now_s - self._live_since_s >= self._patience.steady_s:
                    retry_s, told = self._patience.first_retry_s, ""
                self._lost_s = now_s if self._lost_s is None else self._lost_s
                self._enter("waiting", reason)
                if reason != told:
                    self._tell(f"{reason}; trying again")
                    told = reason
                self._stop.wait(retry_s)
                retry_s = min(2 * retry_s, self._patience.longest_retry_s)
            trouble = self._trouble
        finally:
            self._enter("ended", trouble)

    def _enter(self, state: StreamState, trouble: str) -> None:
        with self._news:
            self._state, self._trouble = state, trouble
            self._view += state != "live"
            self._news.notify_all()

    def _play(self) -> str:
        """Read the source until it ends; return why, or nothing where that is as it should be."""
        source: Generator[Arrival, None, None]
        source = (
            self._film.play(self._stop)
            if self._film
            else live(self.address, self._patience, self._stop)
        )
        try:
            with closing(source):
                for arrival in source:
                    if self._stop.is_set():
                        return ""
                    self._note(arrival)
                    self._offer(arrival)
        except UnreadFramesError as error:
            if self._connections == 1:
                self._tell(str(error).removeprefix(f"{self.address.name}: "))
        except (SourceError, ImageError) as error:
            return str(error)
        except (cv2.error, OSError, MemoryError, RuntimeError) as error:
            return f"it cannot be read: {error or type(error).__name__}"
        return ""

    def _note(self, arrival: Arrival) -> None:
        """Tell what has changed with this picture."""
        now_s = time.monotonic()
        if self._state != "live":
            self._enter("live", "")
            self._connections += 1
            self._live_since_s = self._bright_s = now_s
            if self._lost_s is not None:
                self._tell(f"pictures again after {now_s - self._lost_s:.0f} s")
                self._lost_s = None
        if arrival.damaged and not self._damaged:
            self._tell("a damaged picture came and was left out; more will only be counted")
        self._damaged += arrival.damaged
        self._decode_ms += arrival.decode_ms
        if self._film is None and now_s - self._black_checked_s >= min(
            1.0, self._patience.black_s / 2
        ):
            self._black_checked_s = now_s
            if int(arrival.image[::8, ::8].max()) >= _BLACK:
                self._bright_s = now_s
                if self._is_black:
                    self._tell("no longer black")
                self._is_black = False
            elif not self._is_black and now_s - self._bright_s >= self._patience.black_s:
                self._is_black = True
                self._tell(
                    f"black pictures for {self._patience.black_s:g} s (a covered lens, or a camera asleep?)"
                )

    def _offer(self, arrival: Arrival) -> None:
        """Put the picture into the slot; a film that is not live waits until it is free."""
        size = Size(*arrival.image.shape[:2])
        words = ""
        with self._news:
            while self._waits_for_taker and self._slot is not None and not self._stop.is_set():
                self._news.wait(1.0)
            if self._stop.is_set():
                return
            if self._size not in (None, size):
                self._view += 1
                words = (
                    f"its pictures were {_across(self._size)} pixels, now they are {_across(size)}"
                )
            self._size = size
            self._dropped += self._slot is not None
            self._slot = Picture(
                camera=self._camera,
                frame=self._received,
                image=arrival.image,
                timestamp_s=arrival.timestamp_s,
                arrived_s=time.monotonic(),
                is_new_view=False,  # known when it is taken
            )
            self._slot_view = self._view
            self._received += 1
            self._news.notify_all()
        if words:
            self._tell(words)


def _across(size: Size | None) -> str:
    return f"{size.width}x{size.height}" if size is not None else ""
