"""Fragmented MP4 of MPEG-4 Part 2 frames: one fragment per frame, with its own time.

Such a file only grows and has no index, so it can be played up to the last complete frame wherever
writing ended. Frames may have any increasing times.

Source:
    ISO/IEC 14496-12 (boxes), 14496-1 (decoder header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from slimpose.arrays import Size

TIMESCALE_HZ = 90_000
_TRACK = 1
_KEY_FRAME_FLAGS, _OTHER_FRAME_FLAGS = 0x0200_0000, 0x0101_0000
_VOP, _GROUP = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb3"
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Header:
    """The beginning of a file.

    Attributes:
        data: Its bytes.
        duration_offset: Offset in ``data`` of the duration of the video: 8 bytes, big endian, in
            units of 1 / TIMESCALE_HZ.
    """

    data: bytes
    duration_offset: int


def header(size: Size, first_frame: bytes, *, pixel_aspect: Fraction = Fraction(1)) -> Mp4Header:
    """Return the beginning of a file of frames of this size.

    Args:
        size: Size of the frames.
        first_frame: The first encoded frame, which starts with the decoder header.
        pixel_aspect: Width of a pixel relative to its height.

    Raises:
        ValueError: If the first frame does not start with the decoder header.
    """
    ends = [offset for code in (_GROUP, _VOP) if (offset := first_frame.find(code)) > 0]
    if not ends or not first_frame.startswith(b"\x00\x00\x01"):
        raise ValueError(
            f"the first frame starts with {first_frame[:8].hex(' ')}; "
            "expected MPEG-4 with a decoder header"
        )
    entry = _box(
        b"mp4v",
        bytes(6) + struct.pack(">H16xHH", 1, size.width, size.height),
        struct.pack(">IIIH32xHh", 0x48_0000, 0x48_0000, 0, 1, 24, -1),
        _decoder_box(first_frame[: min(ends)]),
        _box(b"pasp", struct.pack(">II", pixel_aspect.numerator, pixel_aspect.denominator)),
    )
    tables = [_box(b"stsd", _entry_count(1), entry)]
    tables += [_box(name, _entry_count(0)) for name in (b"stts", b"stsc")]
    tables += [_box(b"stsz", bytes(12)), _box(b"stco", _entry_count(0))]
    media = _box(
        b"minf",
        _box(b"vmhd", struct.pack(">I8x", 1)),
        _box(b"dinf", _box(b"dref", _entry_count(1), _box(b"url ", struct.pack(">I", 1)))),
        _box(b"stbl", *tables),
    )
    track = _box(
        b"trak",
        _box(
            b"tkhd",
            struct.pack(">I8xI4xI8xHHHH", 3, _TRACK, 0, 0, 0, 0, 0),
            _MATRIX,
            struct.pack(">II", round((size.width << 16) * pixel_aspect), size.height << 16),
        ),
        _box(
            b"mdia",
            # 0x55C4: undetermined language
            _box(b"mdhd", struct.pack(">12xIIHH", TIMESCALE_HZ, 0, 0x55C4, 0)),
            _box(b"hdlr", struct.pack(">I4x4s12x", 0, b"vide"), b"frames\0"),
            media,
        ),
    )
    duration = _box(b"mehd", struct.pack(">I", 1 << 24), bytes(8))
    movie = _box(
        b"moov",
        _box(
            b"mvhd",
            struct.pack(">12xIIIH10x", TIMESCALE_HZ, 0, 0x10000, 0x100),
            _MATRIX,
            struct.pack(">24xI", _TRACK + 1),
        ),
        track,
        _box(b"mvex", duration, _box(b"trex", struct.pack(">IIIIII", 0, _TRACK, 1, 0, 0, 0))),
    )
    data = _box(b"ftyp", b"iso6", struct.pack(">I", 512), b"iso6mp41") + movie
    return Mp4Header(data=data, duration_offset=data.rindex(b"mehd") + 8)


def fragment(number: int, frame: bytes, *, start: int, duration: int) -> bytes:
    """Return the bytes of one frame.

    Args:
        number: Number of the frame, from 1.
        frame: The encoded frame.
        start: Time of the frame in units of 1 / TIMESCALE_HZ.
        duration: Display time in the same units; it counts for the last frame only, any other is
            displayed until the next one starts.
    """
    flags = _KEY_FRAME_FLAGS if is_key_frame(frame) else _OTHER_FRAME_FLAGS

    def movie_fragment(data_offset: int) -> bytes:
        """The moof box; the data offset in trun counts from its start."""
        run = struct.pack(">IIiIII", 0x0701, 1, data_offset, duration, len(frame), flags)
        return _box(
            b"moof",
            _box(b"mfhd", struct.pack(">II", 0, number)),
            _box(
                b"traf",
                _box(b"tfhd", struct.pack(">II", 0x02_0000, _TRACK)),
                _box(b"tfdt", struct.pack(">IQ", 1 << 24, start)),
                _box(b"trun", run),
            ),
        )

    return movie_fragment(len(movie_fragment(0)) + 8) + _box(b"mdat", frame)


def is_key_frame(frame: bytes) -> bool:
    """Return whether an encoded frame can be decoded without the frames before it."""
    offset = frame.find(_VOP)
    return 0 <= offset < len(frame) - 4 and frame[offset + 4] >> 6 == 0


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + name + body


def _entry_count(count: int) -> bytes:
    """Version and flags 0, then the number of entries."""
    return struct.pack(">II", 0, count)


def _decoder_box(decoder_header: bytes) -> bytes:
    """The esds box: codec MPEG-4 Visual, and the header for its decoder."""
    specific = _descriptor(5, decoder_header)
    config = _descriptor(4, struct.pack(">BB3sII", 0x20, 0x11, bytes(3), 0, 0) + specific)
    return _box(
        b"esds",
        bytes(4),
        _descriptor(3, struct.pack(">HB", _TRACK, 0) + config + _descriptor(6, b"\x02")),
    )


def _descriptor(tag: int, body: bytes) -> bytes:
    length = len(body)  # 28 bits, 7 per byte
    size = [0x80 | length >> shift & 0x7F for shift in (21, 14, 7)] + [length & 0x7F]
    return bytes([tag, *size]) + body
