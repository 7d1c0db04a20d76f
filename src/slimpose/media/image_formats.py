"""What an image file's own bytes say: format, size, completeness, number of images, orientation."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

from slimpose.arrays import Size

Buffer = bytes | mmap
ImageKind = Literal["single", "animation", "motion jpeg", "pages"]

JPEG_START = b"\xff\xd8\xff"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(re.escape(_PNG_SIGNATURE)), "png"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "tiff"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "avif"),
    (re.compile(rb"....ftypmi[af][f1](?=.{0,60}avi[fs])", re.DOTALL), "avif"),
    (re.compile(rb"....ftyphe(i[cxms]|v[cx])", re.DOTALL), "heic"),
    (re.compile(rb"....ftypm[is]f1(?=.{0,60}he[iv][cxms])", re.DOTALL), "heic"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "jpeg2000"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "bmp"),
    (re.compile(rb"P[1-6]\s"), "pnm"),
    (re.compile(rb"P7\n"), "pam"),
    (re.compile(rb"P[Ff]\s"), "pfm"),
    (re.compile(rb"#\?(RADIANCE|RGBE)"), "hdr"),
    (re.compile(rb"\x59\xa6\x6a\x95"), "sun raster"),
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker in coded data, where FF00 is a plain FF and FFD0..FFD7 are restart points."""
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END_MARKER = 0xD9
_JPEG_PADDING = 4096
"""Bytes between two images of Motion JPEG, at most."""
_GAIN_MAP = re.compile(rb"hdrgm:|urn:iso:std:iso:ts:21496")
_NUMBER = re.compile(rb"(?:\s|#[^\n]*\n)+(\d+)")
_MAX_TIFF_PAGES = 65_536
_REDUCED, _MASK = 1, 4  # bits of TIFF's NewSubfileType


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStructure:
    """What the bytes of an image file say about it.

    Attributes:
        format: Such as "jpeg"; empty for what is no image by its first bytes.
        size: Size of the (first) image; None where the format's header is not read here.
        is_complete: Whether the end marker is present, in formats that have one.
        kind: One image; the images of an animation or of Motion JPEG; or independent pages.
        pages: Numbers of the images in the file; in a TIFF without previews and masks.
        count: Number of images in an animation by its header; 0 if unknown.
        max_value: Largest value that a pixel may have, where the format states it.
    """

    format: str = ""
    size: Size | None = None
    is_complete: bool = True
    kind: ImageKind = "single"
    pages: tuple[int, ...] = (0,)
    count: int = 0
    max_value: int | None = None


def image_format(head: Buffer) -> str:
    """Return the format of an image by the first bytes of its file; empty if it is none.

    >>> image_format(b"GIF89a...")
    'gif'
    """
    start = head[:128]
    return next((name for pattern, name in _SIGNATURES if pattern.match(start)), "")


def read_structure(data: Buffer) -> ImageStructure:
    """Read the structure of an image file; damaged structure is the decoder's to reject."""
    name = image_format(data)
    if name == "png":
        return _read_png(data)
    if name == "jpeg":
        return _read_jpeg(data)
    if name == "tiff":
        return _read_tiff(data)
    if name == "gif":
        return ImageStructure(format=name, kind="animation" if _gif_moves(data) else "single")
    if name == "webp":
        return _read_webp(data)
    if name == "avif":
        length = max(16, int.from_bytes(data[:4], "big"))
        is_sequence = b"avis" in data[8 : min(length, 256)]
        return ImageStructure(format=name, kind="animation" if is_sequence else "single")
    if name in ("pnm", "pam"):
        return _read_pnm(data, name)
    return ImageStructure(format=name, max_value=1 if name == "hdr" else None)


def split_images(data: Buffer, name: str) -> Iterator[bytes]:
    """Yield the images of a file of JPEGs or PNMs one after another; the last may be truncated."""
    position = 0
    while 0 <= position < len(data):
        _, end = _jpeg_end(data, position) if name == "jpeg" else (None, _pnm_end(data, position))
        yield data[position : end if end > 0 else len(data)]
        if end < 0:
            return
        if name == "jpeg":
            position = data.find(JPEG_START, end)
        else:
            position = end if image_format(data[end : end + 16]) == "pnm" else -1


# JPEG.


def _read_jpeg(data: Buffer) -> ImageStructure:
    size, end = _jpeg_end(data, 0)
    kind: ImageKind = "single"
    following = data.find(JPEG_START, end, end + _JPEG_PADDING) if end > 0 else -1
    # Previews and the gain maps of HDR photos are not images of their own.
    if following >= 0 and _jpeg_end(data, following)[0] == size:
        head = data[: min(end, 1 << 16)]
        if not _GAIN_MAP.search(head):
            kind = "pages" if b"MPF\0" in head else "motion jpeg"
    return ImageStructure(format="jpeg", size=size, is_complete=end > 0, kind=kind)


def _jpeg_end(data: Buffer, start: int) -> tuple[Size | None, int]:
    """The size of the JPEG at ``start`` and the position after it; -1 without an end marker."""
    size = None
    for marker, payload, end in _jpeg_segments(data, start + 2):
        if marker == _JPEG_END_MARKER:
            return size, end
        if marker in _JPEG_SIZE_MARKERS and len(payload) >= 5:
            size = Size(*struct.unpack_from(">HH", payload, 1))
    return size, -1


def _jpeg_segments(data: Buffer, position: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, payload and end of each segment of a JPEG, not of a thumbnail in a segment."""
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = match[0][1], match.end()
        if marker == _JPEG_END_MARKER or position + 2 > len(data):
            yield marker, b"", position
            return
        if marker in (0x01, 0xD8):  # no payload
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        yield marker, data[position + 2 : position + min(length, 16)], position
        position += length


# PNG, GIF, PNM.


def _read_png(data: Buffer) -> ImageStructure:
    size, position = None, len(_PNG_SIGNATURE)
    kind: ImageKind = "single"
    while position + 12 <= len(data):
        length, chunk = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 16]
        if chunk == b"IHDR" and length >= 8 and len(body) == 8:
            width, height = struct.unpack(">II", body)
            size = Size(height, width)
        elif chunk == b"acTL" and len(body) == 8 and int.from_bytes(body[:4], "big") > 1:
            kind = "animation"
        elif chunk == b"IEND":
            return ImageStructure(format="png", size=size, kind=kind)
        position += 12 + length
    return ImageStructure(format="png", size=size, kind=kind, is_complete=False)


def _gif_moves(data: Buffer) -> bool:
    """Whether a GIF has more than one image."""
    head = data[:13]
    if len(head) < 13:
        return False
    position, images = 13 + _gif_palette(head[10]), 0
    while position < len(data):
        block = data[position : position + 11]
        if block[:1] == b"," and len(block) >= 10:
            images += 1
            position += 11 + _gif_palette(block[9])
        elif block[:1] == b"!":
            position += 2
        else:
            break
        if images > 1:
            return True
        while length := int.from_bytes(data[position : position + 1], "big"):
            position += 1 + length
        position += 1
    return False


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _read_webp(data: Buffer) -> ImageStructure:
    count, position = 0, 12
    while position + 8 <= len(data):
        count += data[position : position + 4] == b"ANMF"
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    is_complete = 8 + int.from_bytes(data[4:8], "little") <= len(data) + 1
    kind = "animation" if count > 1 else "single"
    return ImageStructure(format="webp", kind=kind, count=count, is_complete=is_complete)


def _read_pnm(data: Buffer, name: str) -> ImageStructure:
    if name == "pam":
        found = re.search(rb"\nMAXVAL\s+(\d{1,5})\s", data[:1024])
        return ImageStructure(format=name, max_value=int(found[1]) or None if found else None)
    header = _pnm_header(data, 0)
    if header is None:
        return ImageStructure(format=name, is_complete=False)
    size, max_value, _ = header
    end = _pnm_end(data, 0)
    has_more = end > 0 and image_format(data[end : end + 16]) == "pnm"
    return ImageStructure(
        format=name, size=size, kind="pages" if has_more else "single", max_value=max_value
    )


def _pnm_header(data: Buffer, start: int) -> tuple[Size, int | None, int] | None:
    """Size, largest value and length of the header of a PNM; None if it ends within it."""
    head = data[start : start + 4096]
    numbers = 2 if head[1:2] in b"14" else 3
    values: list[int] = []
    position = 2
    while len(values) < numbers and (match := _NUMBER.match(head, position)):
        values.append(int(match[1][:9]))
        position = match.end()
    if len(values) < numbers:
        return None
    return Size(values[1], values[0]), (values[2] or None) if numbers == 3 else None, position + 1


def _pnm_end(data: Buffer, start: int) -> int:
    """The position after the binary PNM at ``start``; -1 for one in text or without a header."""
    kind, header = data[start + 1 : start + 2], _pnm_header(data, start)
    if header is None or kind not in (b"4", b"5", b"6"):
        return -1
    (height, width), max_value, length = header
    row = (width + 7) // 8 if kind == b"4" else width * (3 if kind == b"6" else 1)
    row *= 2 if (max_value or 0) > 255 else 1
    return start + length + row * height


# TIFF.


def _read_tiff(data: Buffer) -> ImageStructure:
    """Follow the chain of a TIFF's pages, which holds previews and masks of pages too."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    offset_format, count_format = (
        (f"{order}Q", f"{order}Q") if is_big else (f"{order}I", f"{order}H")
    )
    entry_length, start = (20, 8) if is_big else (12, 4)
    pages: list[int] = []
    seen: set[int] = set()
    is_complete = True
    try:
        while len(seen) < _MAX_TIFF_PAGES:
            (offset,) = _unpack(offset_format, data, start)
            if offset == 0 or offset in seen:
                break
            (entries,) = _unpack(count_format, data, offset)
            first = offset + struct.calcsize(count_format)
            start = first + entries * entry_length
            subfile = 0
            for entry in range(first, min(start, len(data)), entry_length):
                (tag,) = _unpack(f"{order}H", data, entry)
                at = entry + entry_length - struct.calcsize(offset_format)
                if tag == 254:
                    subfile |= _unpack(f"{order}I", data, at)[0]
                elif tag == 255 and _unpack(f"{order}H", data, at)[0] == 2:
                    subfile |= _REDUCED
            if not subfile & (_REDUCED | _MASK):
                pages.append(len(seen))
            seen.add(offset)
    except struct.error:
        is_complete = False
    kind = "pages" if len(pages) > 1 else "single"
    return ImageStructure(format="tiff", kind=kind, pages=tuple(pages), is_complete=is_complete)


def _unpack(layout: str, data: Buffer, position: int) -> tuple[int, ...]:
    return struct.unpack(layout, data[position : position + struct.calcsize(layout)])


# AVIF.


def avif_orientation(data: Buffer) -> tuple[int, int | None] | None:
    """Return how an AVIF image is to be turned: quarter turns counterclockwise, mirror axis.

    The axis is 0 to exchange top and bottom, 1 for left and right. None without such properties.

    Source:
        ISO/IEC 23008-12, 6.5.10 (irot) and 6.5.12 (imir): the image is turned, then mirrored.
    """
    meta = _box_body(data, b"meta", 0, len(data))
    properties = meta and _box_body(data, b"iprp", meta[0] + 4, meta[1])
    stored = properties and _box_body(data, b"ipco", *properties)
    if not meta or not properties or not stored:
        return None
    boxes = list(_boxes(data, *stored))
    turns, axis, is_found = 0, None, False
    for index in _primary_properties(data, meta, properties):
        if not 1 <= index <= len(boxes):
            continue
        name, start, _ = boxes[index - 1]
        value = int.from_bytes(data[start : start + 1], "big")
        if name == b"irot":
            turns, is_found = value & 3, True
        elif name == b"imir":
            axis, is_found = value & 1, True
    return (turns, axis) if is_found else None


def _primary_properties(
    data: Buffer, meta: tuple[int, int], properties: tuple[int, int]
) -> list[int]:
    """Numbers of the properties of the primary item, from 1."""
    primary, table = _box_body(data, b"pitm", meta[0] + 4, meta[1]), None
    table = _box_body(data, b"ipma", *properties)
    if not primary or not table:
        return []
    wide = data[primary[0] : primary[0] + 1] != b"\0"
    item = int.from_bytes(data[primary[0] + 4 : primary[0] + (8 if wide else 6)], "big")
    head = data[table[0] : table[0] + 8]
    if len(head) < 8:
        return []
    id_bytes, index_bytes = (4 if head[0] else 2), (2 if head[3] & 1 else 1)
    position = table[0] + 8
    for _ in range(int.from_bytes(head[4:8], "big")):
        if position >= table[1]:
            break
        number = int.from_bytes(data[position : position + id_bytes], "big")
        count = int.from_bytes(data[position + id_bytes : position + id_bytes + 1], "big")
        position += id_bytes + 1
        if number == item:
            mask = 0x7FFF if index_bytes == 2 else 0x7F
            starts = range(position, position + count * index_bytes, index_bytes)
            return [int.from_bytes(data[at : at + index_bytes], "big") & mask for at in starts]
        position += count * index_bytes
    return []


def _boxes(data: Buffer, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the body of each box of an ISO base media file."""
    while start + 8 <= end:
        length, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif length == 0:
            length = end - start
        if length < head:
            return
        yield name, start + head, min(start + length, end)
        start += length


def _box_body(data: Buffer, wanted: bytes, start: int, end: int) -> tuple[int, int] | None:
    return next(((a, b) for name, a, b in _boxes(data, start, end) if name == wanted), None)
