"""Encoding frames as H.264 in MP4 with PyAV (extra ``video``), with the sound of another video."""

from __future__ import annotations

import io
import logging
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from slimpose.arrays import Image, Size
from slimpose.forks import InOneProcess
from slimpose.formats.partial_file import PartialFile
from slimpose.media.addresses import plain_reason
from slimpose.media.frame import SoundSource
from slimpose.media.mp4 import TIMESCALE_HZ
from slimpose.messages import printable

_ENCODER = {"preset": "veryfast", "crf": "21", "tune": "zerolatency"}
"""Without latency each frame is written at once. At most one key frame in 250 frames."""
_CONTAINER = {
    # A fragment for each frame; at the end the file gets one index, like any other MP4.
    "movflags": "hybrid_fragmented+delay_moov+default_base_moof",
    "frag_duration": "1",  # frag_every_frame writes wrong times of sound (FFmpeg 8)
    "flush_packets": "1",
    "max_interleave_delta": "1",  # no frame waits for sound that has ended
}
_SCALE_HZ = 12_000
"""Of times: exact for 24, 25, 30, 50 and 60 frames a second, others to 0.05 ms."""
_LONGEST_GAP = 1 << 30
"""Between two frames: 24 hours, about half of what FFmpeg reads back."""
_BUFFER_BYTES = 1 << 22
"""More than a fragment: the file grows by whole fragments."""
_COPIED_SOUND = frozenset({"aac", "mp3", "opus", "flac", "alac", "ac3", "eac3"})
"""Codecs that MP4 holds and players know."""
_DECODER_START_S = Fraction(45, 1000)
"""Sound before the first frame that is copied, and not played: decoders start with it."""
_SEEK_FROM_S = 5.0
_READING: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
"""Metadata need not be UTF-8; PyAV 19 has no option and escapes it."""
_BT601, _BT709, _LIMITED = 6, 1, 1  # of H.273
_log = logging.getLogger("slimpose")


class H264Encoder:
    """Encodes frames with x264 and writes each as a fragment of an MP4 file.

    If the process is killed, all frames but the last one or two can be played.

    Raises:
        RuntimeError: If x264 cannot encode the size.
    """

    def __init__(
        self,
        file: PartialFile,
        size: Size,
        *,
        fps: float,
        pixel_aspect: Fraction,
        sound: SoundSource | None,
    ) -> None:
        self._file = file
        self._frame_duration = max(1, round(_SCALE_HZ / fps))
        self._last_time = -1  # in units of 1 / _SCALE_HZ
        self._is_closed = False
        self._failure: RuntimeError | None = None
        self._container: OutputContainer = av.open(
            _AvFile(file), "w", format="mp4", options=_CONTAINER, buffer_size=_BUFFER_BYTES
        )
        rate = Fraction(min(max(fps, 1.0), 240.0)).limit_denominator(1001)
        self._video = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
        context = self._video.codec_context
        context.width, context.height, context.pix_fmt = size.width, size.height, "yuv420p"
        context.sample_aspect_ratio = pixel_aspect
        context.time_base = self._video.time_base = Fraction(1, _SCALE_HZ)
        # Programs that ignore the tags use the matrix of BT.601.
        context.colorspace, context.color_range = _BT601, _LIMITED
        context.color_primaries = context.color_trc = _BT709
        try:
            context.open()
        except av.FFmpegError as error:
            raise RuntimeError(
                f"cannot write {file.target}: x264 cannot encode video of "
                f"({size.width}, {size.height}) pixels"
            ) from error
        self._opened = InOneProcess(self._container, self._video, context)
        self._sound = None if sound is None else _Sound.open(sound, self._container)
        self._end = Fraction(0)  # of the last frame, in seconds

    def write(self, image: Image, ticks: int) -> None:
        """Encode a frame; ``ticks`` is its time in units of 1 / TIMESCALE_HZ.

        Raises:
            RuntimeError: If this or an earlier frame could not be written.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        time = max(round(Fraction(ticks * _SCALE_HZ, TIMESCALE_HZ)), self._last_time + 1)
        if time - self._last_time > _LONGEST_GAP:
            _log.warning(
                "%s: a gap of %.0f hours is shortened to 24.8, the longest that MP4 holds here",
                *(self._file.target, (time - self._last_time) / _SCALE_HZ / 3600),
            )
            time = self._last_time + _LONGEST_GAP
        frame.pts, frame.time_base = time, Fraction(1, _SCALE_HZ)
        self._last_time = time
        self._end = Fraction(time + self._frame_duration, _SCALE_HZ)
        self._write(frame, sound_until=Fraction(time, _SCALE_HZ))

    def close(self) -> None:
        """Write the remaining frames and the sound up to the end of the last one.

        Raises:
            RuntimeError: If something could not be written.
        """
        if not self._is_closed and self._opened.is_here:
            self._is_closed = True
            if self._failure is None:
                self._write(None, sound_until=self._end)
            self._close_files()
        if self._failure is not None:
            raise self._failure

    def _write(self, frame: av.VideoFrame | None, *, sound_until: Fraction) -> None:
        """Write a frame, or at the end those in the encoder, after the sound before it."""
        if self._failure is not None:
            raise self._failure
        try:
            packets = self._video.encode(frame)
            if self._sound is not None:
                self._sound.copy(self._container, until=sound_until)
            for packet in packets:
                packet.duration = self._frame_duration
                self._container.mux(packet)
        except RuntimeError as error:  # of the file
            self._failure = error
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            self._failure = RuntimeError(f"cannot write {self._file.target}: {plain_reason(error)}")
            raise self._failure from error

    def _close_files(self) -> None:
        try:
            self._container.close()
        except (RuntimeError, OSError, ValueError) as error:
            self._failure = self._failure or RuntimeError(
                f"cannot write {self._file.target}: {plain_reason(error)}"
            )
        if self._sound is not None:
            self._sound.close()


class _Sound:
    """The sound track of a video file, packet by packet, with times from its first frame."""

    def __init__(
        self,
        file: BinaryIO,
        source: InputContainer,
        track: AudioStream,
        copy: AudioStream,
        *,
        start_s: float,
    ) -> None:
        self._file, self._source, self._copy = file, source, copy
        # Transport streams repeat in each packet what MP4 has once.
        is_adts = track.codec_context.name == "aac" and not track.codec_context.extradata
        self._filter = BitStreamFilterContext("aac_adtstoasc", track) if is_adts else None
        video = source.streams.video[0]
        self._first_frame = (video.start_time or 0) * (video.time_base or Fraction(0))
        self._first_frame += Fraction(start_s)
        if start_s > _SEEK_FROM_S:
            source.seek(int((self._first_frame - 1) * av.time_base))
        self._packets = source.demux(track)
        self._copied_until = Fraction(-1)

    @classmethod
    def open(cls, sound: SoundSource, container: OutputContainer) -> _Sound | None:
        """Open the sound of a video file; None if there is none that MP4 can hold."""
        try:
            file = sound.path.open("rb")  # FFmpeg takes what precedes a colon for a protocol
        except OSError:
            return None
        try:
            source = av.open(file, "r", **_READING)
        except av.FFmpegError:  # animated images
            file.close()
            return None
        track = next(iter(source.streams.audio), None)
        if track is None or not source.streams.video:
            source.close()
            file.close()
            return None
        codec = track.codec_context.codec.canonical_name if track.codec_context else "unknown"
        if codec not in _COPIED_SOUND:
            _log.warning(
                "%s: the drawn video has no sound: its sound is %s; expected %s",
                *(printable(str(sound.path)), codec, ", ".join(sorted(_COPIED_SOUND))),
            )
            source.close()
            file.close()
            return None
        return cls(
            file, source, track, container.add_stream_from_template(track), start_s=sound.start_s
        )

    def copy(self, container: OutputContainer, *, until: Fraction) -> None:
        """Copy the packets up to one that starts after a time in seconds."""
        while self._copied_until <= until:
            packet = self._next_packet()
            if packet is None:
                self._copied_until = Fraction(1 << 40)
                return
            start = (packet.pts or 0) * packet.time_base - self._first_frame
            if start < -_DECODER_START_S:
                continue
            self._copied_until = start
            packet.pts = packet.dts = round(start / packet.time_base)
            for copied in [packet] if self._filter is None else self._filter.filter(packet):
                copied.stream = self._copy
                container.mux(copied)

    def _next_packet(self) -> Packet | None:
        """The next packet with a time; None at the end, and where the file is damaged."""
        try:
            return next((it for it in self._packets if it.pts is not None and it.size), None)
        except av.FFmpegError:
            return None

    def close(self) -> None:
        self._source.close()
        self._file.close()


class _AvFile(io.RawIOBase):
    """A partial file as PyAV writes it: it goes back to some headers at the end."""

    def __init__(self, file: PartialFile) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        end = self._file.position()
        before = bytes(data[: max(0, end - self._position)])
        if before:
            self._file.overwrite(self._position, before)
        if len(data) > len(before):
            self._file.append(bytes(data[len(before) :]))
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._position = offset + (0, self._position, self._file.position())[whence]
        return self._position
