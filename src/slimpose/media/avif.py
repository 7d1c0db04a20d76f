"""How an AVIF image is to be turned, which OpenCV ignores."""

from __future__ import annotations

from collections.abc import Iterator

from slimpose.media.image_formats import Buffer


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
