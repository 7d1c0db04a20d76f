"""Several cameras, streams and video files at once, with all their people in one batch.

    from slimpose.runtime.follower import Follower
    from slimpose.runtime.multi_camera import CameraGroup, follow_cameras

    with CameraGroup("rtsp://10.0.0.5/stream", "0") as cameras:
        follower = Follower(slimpose.load(), cameras=len(cameras))
        for results in follow_cameras(cameras, follower):
            for result in results:
                print(result.source, result.timestamp_s, result.poses.points_image)
            if is_done():
                break               # leaving the block ends the threads

Your code runs between two batches, in your own thread. Frames that arrive meanwhile are dropped;
the newest frame of each camera is the next.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from slimpose.hide import Hider
from slimpose.media import addresses
from slimpose.media.addresses import Address
from slimpose.media.frame import ALL_FRAMES, Frame, FrameRange
from slimpose.media.stream import Stream, StreamStatus
from slimpose.media.stream_reader import DEFAULT_TIMEOUTS, StreamTimeouts
from slimpose.runtime.follower import Follower
from slimpose.runtime.frame_result import FrameResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamNotice:
    """A message for the user about a camera; passwords are hidden in it."""

    camera: int
    name: str
    message: str


class CameraGroup:
    """Sources that are read together; a ``with`` block starts and ends their threads.

    Args:
        sources: Addresses, or their texts as on the command line: "0", "rtsp://...", "clip.mp4",
            "env:NAME", "@FILE" (see ``addresses.parse_all``).
        realtime: Whether video files play in real time, like cameras; otherwise each of their
            frames is processed.
        loop: Whether video files start again at their end.
        frames: Which frames are taken of every source, or of each; start and end are for video
            files only.
        timeouts: Time limits for opening, reading and reopening streams.

    Attributes:
        stems: Start of the names of each source's files: its name, or camera-0, camera-1, ...

    Raises:
        SourceError: If there is no source, one is invalid, or a camera is named twice.
    """

    def __init__(
        self,
        *sources: str | Address,
        realtime: bool = False,
        loop: bool = False,
        frames: FrameRange | Sequence[FrameRange] = ALL_FRAMES,
        timeouts: StreamTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        if not sources:
            raise addresses.SourceError(
                "no source; expected camera numbers, addresses or video files"
            )
        parsed = [
            address
            for source in sources
            for address in (addresses.parse_all([source]) if isinstance(source, str) else [source])
        ]
        cameras = [source.target for source in parsed if source.kind == "camera"]
        if len(set(cameras)) < len(cameras):
            raise addresses.SourceError("a camera is named twice; only one reader can open it")
        self.stems = [source.stem or f"camera-{number}" for number, source in enumerate(parsed)]
        stems = [stem.lower() for stem in self.stems]
        if twice := [stem for stem in stems if stems.count(stem) > 1]:
            raise addresses.SourceError(f"two cameras would have files named {twice[0]}")
        ranges = [frames] * len(parsed) if isinstance(frames, FrameRange) else list(frames)
        self._changed = threading.Condition()
        self._notices: deque[StreamNotice] = deque(maxlen=1000)
        self._streams = [
            Stream(
                source,
                camera=number,
                changed=self._changed,
                report=self._reporter(number, source),
                realtime=realtime,
                loop=loop,
                frames=selected,
                timeouts=timeouts,
            )
            for number, (source, selected) in enumerate(zip(parsed, ranges, strict=True))
        ]

    def __len__(self) -> int:
        return len(self._streams)

    def __enter__(self) -> CameraGroup:
        for stream in self._streams:
            stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout_s: float = 0.5) -> bool:
        """End the threads; return whether all ended in time.

        A thread that waits for a silent network stream ends only when that read returns
        (``StreamTimeouts.read_s``).
        """
        for stream in self._streams:
            stream.stop()
        deadline_s = time.monotonic() + timeout_s
        ended = [stream.join(max(0.0, deadline_s - time.monotonic())) for stream in self._streams]
        return all(ended)

    def take(self, timeout_s: float) -> list[Frame]:
        """Wait for new frames; return the newest of each source that has one, none in time: []."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                frames = [frame for stream in self._streams if (frame := stream.take()) is not None]
                left_s = deadline_s - time.monotonic()
                if frames or left_s <= 0 or all(stream.has_ended for stream in self._streams):
                    return frames
                self._changed.wait(left_s)

    @property
    def have_ended(self) -> bool:
        """Whether no source will give any more frames."""
        with self._changed:
            return all(stream.has_ended for stream in self._streams)

    def statuses(self) -> list[StreamStatus]:
        """Return the state of each source."""
        return [stream.status() for stream in self._streams]

    def notices(self) -> list[StreamNotice]:
        """Return the messages since the last call."""
        notices: list[StreamNotice] = []
        while self._notices:
            notices.append(self._notices.popleft())
        return notices

    def _reporter(self, number: int, source: Address) -> Callable[[str], None]:
        return lambda message: self._notices.append(
            StreamNotice(camera=number, name=source.name, message=source.redact(message))
        )


def follow_cameras(
    cameras: CameraGroup,
    follower: Follower,
    *,
    timeout_s: float = 0.25,
    is_used: Callable[[int], bool] = lambda camera: True,
    hider: Hider | None = None,
) -> Iterator[list[FrameResult]]:
    """Yield results, batch by batch, until all sources have ended.

    A batch holds the newest frame of every source that has a new one. It is empty where none
    arrived within ``timeout_s``, so that the caller can check its own conditions. Frames of cameras
    that are not ``is_used`` are left out. With a ``hider`` the images of the results have their
    people hidden already; nothing has the others.

    Raises:
        ValueError: If there is a hider, and the follower was made without ``find_everyone``.
    """
    if hider is not None and not follower.finds_everyone:
        raise ValueError("the follower does not find everyone; expected find_everyone=True")
    names = [status.name for status in cameras.statuses()]
    while not cameras.have_ended:
        frames = [frame for frame in cameras.take(timeout_s) if is_used(frame.camera)]
        for frame in frames:
            if frame.is_new_view:
                follower.forget(frame.camera)
        all_poses = follower.step(frames) if frames else []
        if hider is not None and frames:
            frames = [
                dataclasses.replace(frame, image=hider(frame.image, everyone))
                for frame, everyone in zip(frames, follower.everyone, strict=True)
            ]
            all_poses = [dataclasses.replace(poses, preview=None) for poses in all_poses]
        now_s = time.monotonic()
        yield [
            FrameResult(
                source=names[frame.camera],
                stem=cameras.stems[frame.camera],
                camera=frame.camera,
                frame_index=frame.index,
                timestamp_s=frame.timestamp_s,
                image=frame.image,
                poses=poses,
                latency_ms=1e3 * (now_s - frame.arrival_s),
            )
            for frame, poses in zip(frames, all_poses, strict=True)
        ]
