"""What an image file's own bytes say: format, size, completeness, number of images."""

from __future__ import annotations

import dataclasses
import math
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
    (re.compile(rb"\0\0\x01\0[^\0]\0...\0", re.DOTALL), "ico"),
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
_PHOTO_PARTS = re.compile(rb"hdrgm:|urn:iso:std:iso:ts:21496|ns\.google\.com/photos")
"""In the head of a photo with gain maps, depth maps or the like behind it."""
_NUMBER = re.compile(rb"(?:\s|#[^\n]*\n)+(\d+)")
_PAM_END = b"ENDHDR\n"
_JPEG2000_START = b"\0\0\0\x0cjP  \r\n\x87\n"
_GIF_CONTROL = b"\xf9"
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
        has_delays: Whether each image of a GIF says how long it is shown.
    """

    format: str = ""
    size: Size | None = None
    is_complete: bool = True
    kind: ImageKind = "single"
    pages: tuple[int, ...] = (0,)
    count: int = 0
    max_value: int | None = None
    has_delays: bool = True


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
    if name == "jpeg":
        return _read_jpeg(data)
    if name == "tiff":
        return _read_tiff(data)
    if name == "gif":
        images, has_delays = _gif_images(data)
        kind = "animation" if images > 1 else "single"
        return ImageStructure(format=name, kind=kind, count=images, has_delays=has_delays)
    if name == "avif":
        length = max(16, int.from_bytes(data[:4], "big"))
        is_sequence = b"avis" in data[8 : min(length, 256)]
        return ImageStructure(format=name, kind="animation" if is_sequence else "single")
    reader = {"png": _read_png, "webp": _read_webp, "pnm": _read_pnm, "pam": _read_pam}.get(name)
    max_value = 1 if name == "hdr" else None
    structure = reader(data) if reader else ImageStructure(format=name, max_value=max_value)
    end = _image_end(data, 0, name)
    if structure.kind == "single" and end > 0 and image_format(data[end : end + 16]) == name:
        return dataclasses.replace(structure, kind="pages")
    return structure


def split_images(data: Buffer, name: str) -> Iterator[bytes]:
    """Yield the images of a file of images one after another; the last may be truncated."""
    position = 0
    while 0 <= position < len(data):
        end = _image_end(data, position, name)
        yield data[position : end if end > 0 else len(data)]
        if end < 0:
            return
        if name == "jpeg":
            position = data.find(JPEG_START, end)
        else:
            position = end if image_format(data[end : end + 16]) == name else -1


def _image_end(data: Buffer, start: int, name: str) -> int:
    """The position after the image at ``start``; -1 if unknown."""
    head = data[start : start + 16]
    if name == "jpeg":
        return _jpeg_end(data, start)[1]
    if name == "png":
        return next((end for chunk, _, end in _png_chunks(data, start) if chunk == b"IEND"), -1)
    if name in ("webp", "bmp") and len(head) == 16:
        length = int.from_bytes(head[4:8] if name == "webp" else head[2:6], "little")
        return start + length + (8 + length % 2 if name == "webp" else 0) if length > 16 else -1
    if name in ("pnm", "pam"):
        return _pnm_end(data, start) if name == "pnm" else _pam_end(data, start)
    return data.find(_JPEG2000_START, start + 12) if name == "jpeg2000" else -1


# JPEG.


def _read_jpeg(data: Buffer) -> ImageStructure:
    size, end = _jpeg_end(data, 0)
    kind: ImageKind = "single"
    following = data.find(JPEG_START, end, end + _JPEG_PADDING) if end > 0 else -1
    head = data[: min(end, 1 << 16)]
    if following >= 0 and not _PHOTO_PARTS.search(head):
        second, second_end = _jpeg_end(data, following)
        if b"MPF\0" in head:  # its other images are previews
            kind = "pages" if second == size else "single"
        elif second == size or not _is_preview(data, size, second, second_end):
            kind = "motion jpeg"
    return ImageStructure(format="jpeg", size=size, is_complete=end > 0, kind=kind)


def _is_preview(data: Buffer, size: Size | None, second: Size | None, end: int) -> bool:
    """Whether the second JPEG of a file is a preview of the first: smaller, and the last one."""
    is_smaller = size is None or second is None or math.prod(second) < math.prod(size)
    return is_smaller and (end < 0 or data.find(JPEG_START, end, end + _JPEG_PADDING) < 0)


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
    size = None
    kind: ImageKind = "single"
    for chunk, body, _ in _png_chunks(data, 0):
        if chunk == b"IHDR" and len(body) == 8:
            width, height = struct.unpack(">II", body)
            size = Size(height, width)
        elif chunk == b"acTL" and len(body) == 8 and int.from_bytes(body[:4], "big") > 1:
            kind = "animation"
        elif chunk == b"IEND":
            return ImageStructure(format="png", size=size, kind=kind)
    return ImageStructure(format="png", size=size, kind=kind, is_complete=False)


def _png_chunks(data: Buffer, start: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield name, first 8 bytes and end of each chunk of the PNG at ``start``."""
    position = start + len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, chunk = struct.unpack(">I4s", data[position : position + 8])
        yield chunk, data[position + 8 : position + 8 + min(length, 8)], position + 12 + length
        position += 12 + length


def _gif_images(data: Buffer) -> tuple[int, bool]:
    """The number of images of a GIF, and whether each states how long it is shown."""
    head = data[:13]
    if len(head) < 13:
        return 0, True
    position, images, delays = 13 + _gif_palette(head[10]), 0, 0
    while position < len(data):
        block = data[position : position + 11]
        if block[:1] == b"," and len(block) >= 10:
            images += 1
            position += 11 + _gif_palette(block[9])
        elif block[:1] == b"!":
            position += 2
            delays += block[1:2] == _GIF_CONTROL
        else:
            break
        while length := int.from_bytes(data[position : position + 1], "big"):
            position += 1 + length
        position += 1
    return images, delays >= images


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


def _read_pnm(data: Buffer) -> ImageStructure:
    header = _pnm_header(data, 0)
    if header is None:
        return ImageStructure(format="pnm", is_complete=False)
    size, max_value, _ = header
    return ImageStructure(format="pnm", size=size, max_value=_stated_range(max_value))


def _read_pam(data: Buffer) -> ImageStructure:
    max_value = _stated_range(_pam_value(data[:1024], b"MAXVAL"))
    return ImageStructure(format="pam", max_value=max_value)


def _stated_range(max_value: int | None) -> int | None:
    """The largest value that a header states; writers of 16-bit files state 65535 for any depth."""
    return None if max_value == 65535 else max_value


def _pam_value(head: bytes, name: bytes) -> int | None:
    found = re.search(rb"\n%s\s+(\d{1,9})\s" % name, head)
    return (int(found[1]) or None) if found else None


def _pam_end(data: Buffer, start: int) -> int:
    """The position after the PAM at ``start``; -1 without a whole header."""
    head = data[start : start + 1024]
    values = [_pam_value(head, name) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")]
    length = head.find(_PAM_END)
    if length < 0 or None in values:
        return -1
    width, height, depth, max_value = (value or 0 for value in values)
    return start + length + len(_PAM_END) + width * height * depth * (1 + (max_value > 255))


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
