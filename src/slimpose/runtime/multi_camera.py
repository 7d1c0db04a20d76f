"""Several sources watched at once, all their people in one batch.

    from slimpose.runtime.follower import Follower
    from slimpose.runtime.multi_camera import Cameras, watch

    with Cameras.of("rtsp://10.0.0.5/stream", "0") as cameras:
        follower = Follower(slimpose.load(), cameras=len(cameras))
        for batch in watch(cameras, follower):
            for seen in batch:
                on_people(seen.name, seen.timestamp_s, seen.poses)      # whatever you would call
                back
            if enough():
                break                                                   # leaving the block ends the
                threads

Your code runs between two batches, in your own thread: pictures that come meanwhile are dropped,
the newest is next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from slimpose.arrays import Image
from slimpose.media import addresses
from slimpose.media.addresses import Address
from slimpose.media.live_capture import DEFAULT_TIMEOUTS, StreamTimeouts
from slimpose.media.stream import Picture, Stream, StreamStatus
from slimpose.poses import Poses
from slimpose.runtime.follower import CameraFrame, Follower


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamNotice:
    """Something to tell the user about a camera; passwords are hidden in it."""

    camera: int
    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One picture and the people on it.

    Attributes:
        name: The source's address, redacted.
        camera: Its number, in the order they were named.
        frame: The picture's number among those that came from the source, dropped ones included.
        timestamp_s: See ``Picture``.
        image: RGB uint8.
        poses: The people, with ids.
        latency_ms: From the picture's arrival until its poses were there.
    """

    name: str
    camera: int
    frame: int
    timestamp_s: float
    image: Image
    poses: Poses
    latency_ms: float


class CameraGroup:
    """Sources that are watched together; a ``with`` block starts and ends their threads.

    Args:
        sources: The addresses.
        realtime: Whether films are played as if they were live; else each of their pictures is
            waited for.
        loop: Whether films start over at their end.
        patience: How long lost streams are waited for.

    Raises:
        SourceError: If a camera is named twice, or nothing is.
    """

    def __init__(
        self,
        sources: Sequence[Address],
        *,
        realtime: bool = False,
        loop: bool = False,
        patience: StreamTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        if not sources:
            raise addresses.SourceError(
                "nothing to watch; expected cameras' numbers, addresses or video files"
            )
        cameras = [source.target for source in sources if source.kind == "camera"]
        if len(set(cameras)) < len(cameras):
            raise addresses.SourceError("a camera is named twice; only one reader can open it")
        self._news = threading.Condition()
        self._notices: deque[StreamNotice] = deque(maxlen=1000)
        self._streams = [
            Stream(
                source,
                camera=number,
                new_frame=self._news,
                report=self._teller(number, source),
                realtime=realtime,
                loop=loop,
                timeouts=patience,
            )
            for number, source in enumerate(sources)
        ]

    @classmethod
    def of(
        cls,
        *words: str,
        realtime: bool = False,
        loop: bool = False,
        patience: StreamTimeouts = DEFAULT_TIMEOUTS,
    ) -> CameraGroup:
        """Return the sources as the command line names them: "0", "rtsp://...", "clip.mp4".

        Raises:
            SourceError: If a word names nothing.
        """
        return cls(
            [addresses.parse(word) for word in words],
            realtime=realtime,
            loop=loop,
            patience=patience,
        )

    def __len__(self) -> int:
        return len(self._streams)

    def __enter__(self) -> CameraGroup:
        for stream in self._streams:
            stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout_s: float = 0.5) -> bool:
        """End the threads; return whether all did in time.

        One that waits for a silent network stream ends only when that wait does
        (``Patience.read_s``).
        """
        for stream in self._streams:
            stream.stop()
        until_s = time.monotonic() + timeout_s
        ended = [stream.join(max(0.0, until_s - time.monotonic())) for stream in self._streams]
        return all(ended)

    def take(self, timeout_s: float) -> list[Picture]:
        """Return the newest picture of every source that has one nobody took; none if none comes in time."""
        until_s = time.monotonic() + timeout_s
        with self._news:
            while True:
                pictures = [
                    picture for stream in self._streams if (picture := stream.take()) is not None
                ]
                left_s = until_s - time.monotonic()
                if pictures or left_s <= 0 or all(stream.has_ended for stream in self._streams):
                    return pictures
                self._news.wait(left_s)

    @property
    def have_ended(self) -> bool:
        """Whether no source will give any picture any more."""
        with self._news:
            return all(stream.has_ended for stream in self._streams)

    def statuses(self) -> list[StreamStatus]:
        """How each source is doing."""
        return [stream.status() for stream in self._streams]

    def notices(self) -> list[StreamNotice]:
        """What there is to tell since the last call."""
        told: list[StreamNotice] = []
        while self._notices:
            told.append(self._notices.popleft())
        return told

    def _teller(self, number: int, source: Address) -> Callable[[str], None]:
        return lambda words: self._notices.append(
            StreamNotice(camera=number, name=source.name, words=source.safe(words))
        )


def follow_cameras(
    cameras: CameraGroup, follower: Follower, *, patience_s: float = 0.25
) -> Iterator[list[Seen]]:
    """Yield what is seen, batch by batch, until all sources have ended.

    A batch holds the newest picture of every source that has a new one; it is empty where none came
    for ``patience_s``, so that the caller can look at its clock.
    """
    names = [status.name for status in cameras.statuses()]
    while not cameras.have_ended:
        pictures = cameras.take(patience_s)
        for picture in pictures:
            if picture.is_new_view:
                follower.forget(picture.camera)
        frames = [
            CameraFrame(camera=picture.camera, image=picture.image, timestamp_s=picture.timestamp_s)
            for picture in pictures
        ]
        found = follower.step(frames) if frames else []
        now_s = time.monotonic()
        yield [
            Seen(
                name=names[picture.camera],
                camera=picture.camera,
                frame=picture.frame,
                timestamp_s=picture.timestamp_s,
                image=picture.image,
                poses=poses,
                latency_ms=1e3 * (now_s - picture.arrived_s),
            )
            for picture, poses in zip(pictures, found, strict=True)
        ]
