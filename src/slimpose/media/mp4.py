"""A fragmented MP4 of MPEG-4 pictures: each picture is a fragment of its own, with its own time.

Such a file only ever grows and has no index, so it can be played up to the last whole picture
wherever writing ended; pictures need not come at an even rate. Boxes are those of ISO/IEC 14496-12,
the decoder's header that of 14496-1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from slimpose.arrays import Size

TIMESCALE_HZ = 90_000
_TRACK = 1
_KEY_PICTURE, _OTHER_PICTURE = 0x0200_0000, 0x0101_0000
_VOP, _GROUP = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb3"
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Header:
    """The start of a file.

    Attributes:
        data: Its bytes.
        duration_at: Where in them the length of the film stands, 8 bytes big endian in units of
            TIMESCALE_HZ.
    """

    data: bytes
    duration_offset: int


def header(size: Size, first_picture: bytes) -> Mp4Header:
    """Return the start of a file whose pictures have this size.

    Raises:
        ValueError: If the first picture does not begin with the decoder's header.
    """
    ends = [place for mark in (_GROUP, _VOP) if (place := first_picture.find(mark)) > 0]
    if not ends or not first_picture.startswith(b"\x00\x00\x01"):
        raise ValueError(
            f"a picture starts with {first_picture[:8].hex(' ')}; expected MPEG-4 with its header"
        )
    entry = _box(
        b"mp4v",
        bytes(6) + struct.pack(">H16xHH", 1, size.width, size.height),
        struct.pack(">IIIH32xHh", 0x48_0000, 0x48_0000, 0, 1, 24, -1),
        _decoder(first_picture[: min(ends)]),
    )
    tables = [_box(b"stsd", _counted(1), entry)]
    tables += [_box(name, _counted(0)) for name in (b"stts", b"stsc")]
    tables += [_box(b"stsz", bytes(12)), _box(b"stco", _counted(0))]
    media = _box(
        b"minf",
        _box(b"vmhd", struct.pack(">I8x", 1)),
        _box(b"dinf", _box(b"dref", _counted(1), _box(b"url ", struct.pack(">I", 1)))),
        _box(b"stbl", *tables),
    )
    track = _box(
        b"trak",
        _box(
            b"tkhd",
            struct.pack(">I8xI4xI8xHHHH", 3, _TRACK, 0, 0, 0, 0, 0),
            _MATRIX,
            struct.pack(">II", size.width << 16, size.height << 16),
        ),
        _box(
            b"mdia",
            _box(
                b"mdhd", struct.pack(">12xIIHH", TIMESCALE_HZ, 0, 0x55C4, 0)
            ),  # the language is undetermined
            _box(b"hdlr", struct.pack(">I4x4s12x", 0, b"vide"), b"pictures\0"),
            media,
        ),
    )
    length = _box(b"mehd", struct.pack(">I", 1 << 24), bytes(8))
    whole = _box(
        b"moov",
        _box(
            b"mvhd",
            struct.pack(">12xIIIH10x", TIMESCALE_HZ, 0, 0x10000, 0x100),
            _MATRIX,
            struct.pack(">24xI", _TRACK + 1),
        ),
        track,
        _box(b"mvex", length, _box(b"trex", struct.pack(">IIIIII", 0, _TRACK, 1, 0, 0, 0))),
    )
    data = _box(b"ftyp", b"iso6", struct.pack(">I", 512), b"iso6mp41") + whole
    return Mp4Header(data=data, duration_offset=data.rindex(b"mehd") + 8)


def fragment(number: int, picture: bytes, *, start: int, duration: int) -> bytes:
    """Return the bytes of one picture, the ``number``-th from 1, times in units of TIMESCALE_HZ.

    ``duration`` is what a player shows the last picture for; any other stays until the next one
    starts.
    """
    # trun's first field is where the picture's bytes start, counted from the start of moof.
    flags = _KEY_PICTURE if is_key_frame(picture) else _OTHER_PICTURE

    def header(offset: int) -> bytes:
        return _box(
            b"moof",
            _box(b"mfhd", struct.pack(">II", 0, number)),
            _box(
                b"traf",
                _box(b"tfhd", struct.pack(">II", 0x02_0000, _TRACK)),
                _box(b"tfdt", struct.pack(">IQ", 1 << 24, start)),
                _box(
                    b"trun",
                    struct.pack(">IIiIII", 0x0701, 1, offset, duration, len(picture), flags),
                ),
            ),
        )

    return header(len(header(0)) + 8) + _box(b"mdat", picture)


def is_key_frame(picture: bytes) -> bool:
    """Whether a picture can be decoded without those before it."""
    place = picture.find(_VOP)
    return 0 <= place < len(picture) - 4 and picture[place + 4] >> 6 == 0


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + name + body


def _counted(number: int) -> bytes:
    """Version and flags 0, then a count."""
    return struct.pack(">II", 0, number)


def _decoder(header: bytes) -> bytes:
    """The esds box: MPEG-4 Visual, and the header that its decoder wants first."""
    specific = _descriptor(5, header)
    config = _descriptor(4, struct.pack(">BB3sII", 0x20, 0x11, bytes(3), 0, 0) + specific)
    return _box(
        b"esds",
        bytes(4),
        _descriptor(3, struct.pack(">HB", _TRACK, 0) + config + _descriptor(6, b"\x02")),
    )


def _descriptor(tag: int, body: bytes) -> bytes:
    length = len(body)
    sizes = bytes(
        [
            0x80 | length >> 21 & 0x7F,
            0x80 | length >> 14 & 0x7F,
            0x80 | length >> 7 & 0x7F,
            length & 0x7F,
        ]
    )
    return bytes([tag]) + sizes + body
