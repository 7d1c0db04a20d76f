"""Reading images as RGB uint8, with EXIF rotation applied, and checking image arrays."""

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
_JPEG_END_MARKER = 0xD9


class ImageError(ValueError):
    """An image cannot be read; the message names the image and the reason."""


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; subfolders are not searched.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it has no images.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"no image folder {folder}")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES)[:4])
        raise ValueError(f"{folder} contains no images; expected files like {suffixes}")
    return files


def read_image(path: str | Path) -> Image:
    """Read an image file as RGB uint8 (height, width, 3).

    Gray images become RGB, 16-bit images become 8-bit, transparency is dropped, and the EXIF
    rotation is applied.

    Raises:
        ImageError: If there is no such file, or it is not a complete image that OpenCV can decode.
    """
    if isinstance(path, str) and is_url(path):
        raise ImageError(f"{redacted(path)}: an address, not a file; download it first")
    path = Path(path)
    if not path.is_file():
        reason = "a folder, not an image" if path.is_dir() else "no such file"
        raise ImageError(f"{path}: {reason}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode an image file in memory; see ``read_image``.

    Args:
        data: The contents of the file.
        name: Name of the image in error messages.

    Raises:
        ImageError: If it is not a complete image that OpenCV can decode, or has over MAX_PIXELS.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    size, is_complete = _read_structure(data)
    if size is not None:
        _check_pixels(size, name)
    if not is_complete:
        raise ImageError(
            f"{name}: the image is truncated: its end marker is missing "
            "(an unfinished download or copy?)"
        )
    try:
        # IMREAD_COLOR: 8 bits, EXIF rotation applied
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: not an image OpenCV can decode: {error.err or error}") from error
    if bgr is None:
        raise ImageError(
            f"{name}: not an image OpenCV can decode (damaged, or another kind of file?)"
        )
    _check_pixels(Size(*bgr.shape[:2]), name)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)  # in place, to save memory


def check_image(image: object) -> None:
    """Raise ImageError if this is not an RGB uint8 array (height, width, 3) with pixels.

    The message suggests a conversion for common mistakes.
    """
    if not isinstance(image, np.ndarray):
        is_pil = hasattr(image, "convert")
        cause = ' (from PIL? np.asarray(image.convert("RGB")) converts it)' if is_pil else ""
        raise ImageError(
            f"the image is a {type(image).__name__}; "
            f"expected a NumPy array, RGB uint8 (height, width, 3){cause}"
        )
    cause = ""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        cause = " (gray? cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) converts it to RGB)"
    elif image.ndim == 3 and image.shape[2] == 4:
        cause = " (with transparency? image[:, :, :3] drops it)"
    elif image.ndim == 3 and image.shape[0] == 3:
        cause = " (channels first? image.transpose(1, 2, 0) puts them last)"
    elif image.ndim == 4:
        cause = " (a batch? pass one image at a time)"
    elif image.dtype.kind == "f":
        cause = " (0..1? (image * 255).astype(np.uint8) converts it)"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"the image is {image.dtype} {image.shape}; "
            f"expected uint8 (height, width, 3), RGB{cause}"
        )


def _check_pixels(size: Size, name: str) -> None:
    if size.height * size.width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size.width}x{size.height} pixels (width x height) are "
            f"{size.height * size.width / 1e6:.0f} million; expected at most "
            f"{MAX_PIXELS // 1_000_000} million (make it smaller first)"
        )


def _read_structure(data: bytes) -> tuple[Size | None, bool]:
    """The size in the header of a JPEG or PNG, and whether the end marker is present.

    The size is checked before any memory is allocated for it. OpenCV 4 silently fills the missing
    part of a truncated JPEG with gray. Other formats return (None, True).
    """
    if data.startswith(_PNG_SIGNATURE):
        return _read_png_structure(data)
    if data.startswith(_JPEG_SIGNATURE):
        size = None
        for marker, payload in _jpeg_segments(data):
            if marker == _JPEG_END_MARKER:
                return size, True
            if marker in _JPEG_SIZE_MARKERS and len(payload) >= 5:
                size = Size(*struct.unpack_from(">HH", payload, 1))
        return size, False
    return None, True


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers of the main image (not of a thumbnail in a segment) and their payloads."""
    position = 2
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = data[match.start() + 1], match.end()
        if marker == _JPEG_END_MARKER or position + 2 > len(data):
            yield marker, b""
            return
        if marker in (0x01, 0xD8):  # no payload
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        yield marker, data[position + 2 : position + min(length, 16)]
        position += length


def _read_png_structure(data: bytes) -> tuple[Size | None, bool]:
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
