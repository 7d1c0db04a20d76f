"""``Frame``, one image with its time and number, and ``Media``, an opened file of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from slimpose.arrays import Image
from slimpose.media.addresses import SourceError

SQUARE = Fraction(1)
"""The aspect ratio of square pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image with its time and number: the type from reading until poses are estimated.

    Attributes:
        image: RGB uint8 (height, width, 3).
        timestamp_s: Capture time; increases from frame to frame of a camera, not necessarily
            evenly. In a file: seconds since the first frame. From a live source: the time of
            arrival in seconds since 1970, which never goes back.
        index: Number in its source, from 0. In a video file damaged frames count too; in a
            ``Stream`` all received frames do, dropped ones included.
        camera: Number of its camera, from 0.
        arrival_s: Time of decoding on the monotonic clock; 0 outside of a ``Stream``.
        damaged_before: Undecodable frames directly before this one; live sources only.
        is_new_view: Whether it does not continue the previous frame of its camera: it is the first,
            follows a gap, or has another size. Set by a ``Stream``.
        decode_ms: CPU time of reading and decoding; 0 outside of a ``Stream``.
        pixel_aspect: Width of a pixel relative to its height, for displaying the image; set for
            live sources.
    """

    image: Image
    timestamp_s: float
    index: int = 0
    camera: int = 0
    arrival_s: float = 0.0
    damaged_before: int = 0
    is_new_view: bool = False
    decode_ms: float = 0.0
    pixel_aspect: Fraction = SQUARE


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRange:
    """Which frames of a video are read.

    Attributes:
        every: Only frames 0, N, 2 N, ... of the video.
        start_s: Time of the first one, in seconds since the video's first frame.
        end_s: Frames from this time on are not read.

    Raises:
        ValueError: If a number is out of range, or the end is not after the start.

    >>> FrameRange(every=2, start_s=0.5).has(index=6, timestamp_s=0.24)
    False
    """

    every: int = 1
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; expected 1 or more")
        if not 0 <= self.start_s < math.inf:
            raise ValueError(f"start_s is {self.start_s:g}; expected seconds, 0 or more")
        if not self.start_s < self.end_s:
            raise ValueError(
                f"end_s is {self.end_s:g}; expected a time after start_s, {self.start_s:g}"
            )

    def has(self, *, index: int, timestamp_s: float) -> bool:
        """Return whether a frame belongs to the range."""
        return self.start_s <= timestamp_s < self.end_s and index % self.every == 0

    def count(self, frame_count: int, fps: float) -> int:
        """Return about how many frames of a video are read; 0 if its number is unknown."""
        first, last = self.start_s * fps, min(frame_count, self.end_s * fps)
        return math.ceil(max(0.0, last - first) / self.every) if frame_count else 0

    def check_any(self, count: int, path: Path, length_s: float) -> None:
        """Raise SourceError if no frame of a video was in the range."""
        if not count:
            raise SourceError(
                f"{path}: no frame from {self.start_s:g} to {self.end_s:g} s "
                f"(every: {self.every}); the last frame is at {length_s:g} s"
            )


ALL_FRAMES = FrameRange()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Media:
    """An opened image or video file.

    Attributes:
        path: The file.
        is_video: Whether it is a video: a sequence of frames in time. Otherwise it is an image, or
            several independent ones (the pages of a TIFF).
        frame_count: Number of frames or pages that are read, by the file's header; 0 if unknown.
        fps: Frame rate of a video, of the frames that are read; 25 if unknown.
        frames: The frames, once, turned upright. For a video, iterating raises TruncatedVideoError
            after the last good frame if frames that the header states are missing,
            DamagedFrameError if some in between could not be decoded.
        pixel_aspect: Width of a pixel relative to its height, for displaying the frames.
        start_s: Where the first frame of the file is in its video track: over 0 where the track
            starts with frames that cannot be decoded.
    """

    path: Path
    is_video: bool
    frame_count: int
    fps: float
    frames: Iterator[Frame]
    pixel_aspect: Fraction = SQUARE
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SoundSource:
    """Sound for a video.

    Attributes:
        path: The video file that has it.
        start_s: Where it starts, in seconds since the start of that file's video track.
    """

    path: Path
    start_s: float
