"""Reading pictures: every kind OpenCV knows, as RGB uint8, turned upright, or one clear error."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.media.addresses import is_url, redacted

MAX_PIXELS = 256_000_000
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"}
)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker in coded data, where FF00 is a plain FF and FFD0..FFD7 are restart points."""
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageError(ValueError):
    """A picture that cannot be read; the message names it and says why."""


def image_files(folder: Path) -> list[Path]:
    """Return a folder's pictures, by name; those of its subfolders are not among them.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it holds none.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"no image folder {folder}")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(
            f"{folder} holds no pictures; expected files like {', '.join(sorted(IMAGE_SUFFIXES)[:4])}"
        )
    return files


def read_image(path: str | Path) -> Image:
    """Read a picture as RGB uint8 (height, width, 3).

    Gray becomes RGB, 16 bits become 8, transparency is dropped, EXIF rotation is applied.

    Raises:
        ImageError: If there is no such file, or it holds no whole picture that OpenCV can decode.
    """
    if isinstance(path, str) and is_url(path):
        raise ImageError(f"{redacted(path)}: an address, not a file; download it first")
    path = Path(path)
    if not path.is_file():
        raise ImageError(
            f"{path}: {'a folder, not a picture' if path.is_dir() else 'no such file'}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode a picture from memory; see ``read_image``.

    Raises:
        ImageError: If the bytes hold no whole picture that OpenCV can decode, or one over
            MAX_PIXELS.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    size, is_whole = _outline(data)
    if size is not None:
        _check_pixels(size, name)
    if not is_whole:
        raise ImageError(
            f"{name}: the picture is truncated: its end marker is missing (an unfinished download or copy?)"
        )
    try:
        bgr = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR
        )  # 8 bits, EXIF rotation applied
    except cv2.error as error:
        raise ImageError(
            f"{name}: not a picture OpenCV can decode: {error.err or error}"
        ) from error
    if bgr is None:
        raise ImageError(
            f"{name}: not a picture OpenCV can decode (damaged, or another kind of file?)"
        )
    _check_pixels(Size(*bgr.shape[:2]), name)
    return cv2.cvtColor(
        bgr, cv2.COLOR_BGR2RGB, dst=bgr
    )  # in place: a large picture is not held twice


def check_image(image: object) -> None:
    """Raise ImageError unless it is an array: an RGB uint8 image (height, width, 3) with a pixel in it."""
    if not isinstance(image, np.ndarray):
        cause = (
            ' (from PIL? np.asarray(image.convert("RGB")) makes it one)'
            if hasattr(image, "convert")
            else ""
        )
        kind = type(image).__name__
        raise ImageError(
            f"the image is a {kind}; expected a NumPy array, RGB uint8 (height, width, 3){cause}"
        )
    cause = ""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        cause = " (gray? cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) makes it RGB)"
    elif image.ndim == 3 and image.shape[2] == 4:
        cause = " (with transparency? image[:, :, :3] drops it)"
    elif image.ndim == 3 and image.shape[0] == 3:
        cause = " (channels first? image.transpose(1, 2, 0) puts them last)"
    elif image.ndim == 4:
        cause = " (a batch? give one image at a time)"
    elif image.dtype.kind == "f":
        cause = " (0..1? (image * 255).astype(np.uint8) makes it bytes)"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"the image is {image.dtype} {image.shape}; expected uint8 (height, width, 3), RGB{cause}"
        )


def _check_pixels(size: Size, name: str) -> None:
    if size.height * size.width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size.width}x{size.height} pixels (width x height) are "
            f"{size.height * size.width / 1e6:.0f} million; expected at most "
            f"{MAX_PIXELS // 1_000_000} million (make it smaller first)"
        )


def _outline(data: bytes) -> tuple[Size | None, bool]:
    """The size a JPEG or PNG claims, before any memory is spent on it, and whether its end is there.

    OpenCV 4 fills the missing part of a truncated JPEG with gray and says nothing. Other kinds give
    (None, True).
    """
    if data.startswith(_PNG_SIGNATURE):
        return _png_outline(data)
    if data.startswith(_JPEG_SIGNATURE):
        size = None
        for marker, payload in _jpeg_segments(data):
            if marker == 0xD9:
                return size, True
            if marker in _JPEG_SIZE_MARKERS and len(payload) >= 5:
                size = Size(*struct.unpack_from(">HH", payload, 1))
        return size, False
    return None, True


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of the outermost picture (not of a thumbnail inside a segment) and what they carry."""
    position = 2
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = data[match.start() + 1], match.end()
        if marker == 0xD9 or position + 2 > len(data):
            yield marker, b""
            return
        if marker in (0x01, 0xD8):  # no payload
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        yield marker, data[position + 2 : position + min(length, 16)]
        position += length


def _png_outline(data: bytes) -> tuple[Size | None, bool]:
    size, position = None, len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IHDR" and length >= 8 and position + 16 <= len(data):
            width, height = struct.unpack_from(">II", data, position + 8)
            size = Size(height, width)
        if kind == b"IEND":
            return size, True
        position += 12 + length
    return size, False
