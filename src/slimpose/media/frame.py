"""``Frame``, one image with its time and number, and ``Media``, an opened file of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from slimpose.arrays import Image

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Media:
    """An opened image or video file.

    Attributes:
        path: The file.
        is_video: Whether it is a video: a sequence of frames in time. Otherwise it is an image, or
            several independent ones (the pages of a TIFF).
        frame_count: Number of frames or pages by the file's header; 0 if unknown.
        fps: Frame rate of a video; 25 if unknown.
        frames: The frames, once, turned upright. For a video, iterating raises TruncatedVideoError
            after the last good frame if frames that the header states are missing,
            DamagedFrameError if some in between could not be decoded.
        pixel_aspect: Width of a pixel relative to its height, for displaying the frames.
        start_s: Time of the first frame since the start of a video file's video track: over 0 where
            the track starts with frames that cannot be decoded.
    """

    path: Path
    is_video: bool
    frame_count: int
    fps: float
    frames: Iterator[Frame]
    pixel_aspect: Fraction = SQUARE
    start_s: float = 0.0
