"""Writing MP4 videos that stay playable if the program is killed."""

from __future__ import annotations

import logging
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

from slimpose.arrays import Image, Size
from slimpose.draw import resize_to_fit
from slimpose.formats.partial_file import PartialFile
from slimpose.media.frame import SQUARE, SoundSource
from slimpose.media.mp4 import TIMESCALE_HZ
from slimpose.media.mpeg4_encoder import Mpeg4Encoder

MAX_SIDE = 8190
"""Of a frame in pixels: MPEG-4 Part 2 has 13 bits for it, and sides are even."""
_log = logging.getLogger("slimpose")


@runtime_checkable
class FrameEncoder(Protocol):
    """What encodes frames into an MP4 file; ``ticks`` are times in units of 1 / TIMESCALE_HZ.

    Both methods raise RuntimeError if this or an earlier frame could not be written.
    """

    def write(self, image: Image, ticks: int) -> None:
        """Encode a frame of the file's size."""
        ...

    def close(self) -> None:
        """Write the remaining frames and release the encoder."""
        ...


def has_h264() -> bool:
    """Return whether videos are written as H.264, which every browser and phone plays.

    That needs PyAV with the encoder x264: the extra ``video``.
    """
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


class VideoWriter:
    """Writes an MP4 file frame by frame, each frame with its own time.

    H.264 with the extra ``video``, MPEG-4 Part 2 without it. Until ``finish`` the file is called
    NAME.partial.mp4; it can be played at any time, and after a kill.

    All frames have the size of the first one, with sides rounded down to even numbers; frames of
    another size are scaled to fit. So are frames with a side of over MAX_SIDE, with a warning.

    Args:
        path: The file.
        size: Size of the frames.
        fps: Usual frame rate: the encoder's rate, and the display time of the last frame.
        pixel_aspect: Width of a pixel relative to its height.
        sound: Sound to copy, with H.264 only, up to the end of the last frame; None for none.

    Raises:
        RuntimeError: If the size cannot be encoded, or the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        *,
        fps: float,
        pixel_aspect: Fraction = SQUARE,
        sound: SoundSource | None = None,
    ) -> None:
        self.size = _encodable(size)
        if max(size) > MAX_SIDE:
            _log.warning(
                "%s: its frames are %dx%d instead of %dx%d pixels; MPEG-4 has at most 8191 a side",
                *(path, self.size.width, self.size.height, size.width, size.height),
            )
        self._first_s: float | None = None
        self._last_ticks = -1
        self._file = PartialFile(path)
        try:
            self._encoder = self._open_encoder(fps, pixel_aspect, sound)
        except RuntimeError:
            self._file.discard()
            raise

    def _open_encoder(
        self, fps: float, pixel_aspect: Fraction, sound: SoundSource | None
    ) -> FrameEncoder:
        if not has_h264():
            return Mpeg4Encoder(self._file, self.size, fps=fps, pixel_aspect=pixel_aspect)
        from slimpose.media.h264_encoder import H264Encoder

        return H264Encoder(self._file, self.size, fps=fps, pixel_aspect=pixel_aspect, sound=sound)

    @property
    def path(self) -> Path:
        """The file's path after ``finish``."""
        return self._file.target

    def write(self, image: Image, timestamp_s: float) -> None:
        """Append a frame.

        Args:
            image: The frame, RGB.
            timestamp_s: Its time; the first frame's becomes 0. A time that does not increase is
                moved to just after the previous one.

        Raises:
            RuntimeError: If this or an earlier frame could not be written.
        """
        self._first_s = timestamp_s if self._first_s is None else self._first_s
        ticks = round((timestamp_s - self._first_s) * TIMESCALE_HZ)
        self._last_ticks = max(self._last_ticks + 1, ticks)
        if Size(image.shape[0] // 2 * 2, image.shape[1] // 2 * 2) == self.size:
            image = image[: self.size.height, : self.size.width]
        else:
            image = resize_to_fit(image, self.size)
        self._encoder.write(image, self._last_ticks)

    def finish(self) -> None:
        """Write the remaining frames and rename the file to its final name.

        Raises:
            RuntimeError: If they could not be written.
        """
        self._encoder.close()
        self._file.finish()

    def close(self) -> None:
        """Write the remaining frames and leave the file under its partial name."""
        with suppress(RuntimeError):  # it was raised by write or finish
            self._encoder.close()
        self._file.close()

    def discard(self) -> None:
        """Remove the file, unless it is finished."""
        with suppress(RuntimeError):
            self._encoder.close()
        self._file.discard()


def _encodable(size: Size) -> Size:
    """The size with even sides of at most MAX_SIDE, nearly the same shape."""
    scale = min(1.0, MAX_SIDE / max(size))
    return Size(*(max(2, int(scale * side) // 2 * 2) for side in size))
