"""Windows icons (.ico): one image in several sizes, of which the largest is read."""

from __future__ import annotations

import struct

from slimpose.media.image_formats import image_format

_ENTRY = struct.Struct("<BBBBHHII")
_DIB = struct.Struct("<IiiHHIIiiII")
_BMP_HEADER = struct.Struct("<2sIII")


def largest_icon(data: bytes) -> bytes | None:
    """Return the largest image of an icon as a PNG or BMP file; None if there is none."""
    (count,) = struct.unpack_from("<H", data, 4)
    best: tuple[int, int, bytes] | None = None
    for number in range(count):
        start = 6 + number * _ENTRY.size
        if start + _ENTRY.size > len(data):
            break
        width, height, *_, bits, length, offset = _ENTRY.unpack_from(data, start)
        image = data[offset : offset + length]
        if len(image) == length > _DIB.size:
            entry = ((width or 256) * (height or 256), bits, image)  # 0 stands for 256
            best = entry if best is None or entry[:2] > best[:2] else best
    if best is None:
        return None
    image = best[2]
    return image if image_format(image) == "png" else _bmp(image)


def _bmp(dib: bytes) -> bytes:
    """A bitmap without its mask, whose rows its height counts too, as a BMP file."""
    length, width, height, planes, bits, *others = _DIB.unpack_from(dib)
    colors = min(others[-2] or 256, 1 << bits) if bits <= 8 else 0
    pixels = _BMP_HEADER.size + length + 4 * colors
    upright = _DIB.pack(length, width, height // 2, planes, bits, *others) + dib[_DIB.size :]
    return _BMP_HEADER.pack(b"BM", _BMP_HEADER.size + len(dib), 0, pixels) + upright
