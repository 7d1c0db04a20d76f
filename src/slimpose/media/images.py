"""Reading images as RGB uint8, with EXIF rotation applied, and checking image arrays."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.interpreter_end import finished_at_exit
from slimpose.media import heic
from slimpose.media.addresses import is_url, redacted
from slimpose.media.avif import avif_orientation
from slimpose.media.decoder_messages import with_messages
from slimpose.media.icons import largest_icon
from slimpose.media.image_formats import (
    ImageStructure,
    image_format,
    read_structure,
)
from slimpose.messages import short_name

MAX_PIXELS = 256_000_000
# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2",
    ".ppm", ".pgm",
})
# fmt: on
"""The usual ones, for messages; files are recognized by their contents."""

_DAMAGE = re.compile(r"[Pp]remature end|bad (Huffman|arithmetic)|instead of RST|error")
_DECODER = re.compile(r"libpng (error|warning): |Corrupt JPEG data: |Warning: | of JPEG file")
_VALUE_RANGES = (255, 1023, 4095, 16383, 65535)
_SHIFTED_RANGES = {4: 1023, 16: 4095, 64: 16383}
"""The range of 8-bit values that were multiplied to 10, 12 or 14 bits, by their step."""
_KINDS = {
    "animation": "an animation of several images",
    "motion jpeg": "Motion JPEG, several images one after another",
    "pages": "several images in one file",
}
_log = logging.getLogger("slimpose")


class ImageError(ValueError):
    """An image cannot be read; the message names the image and the reason."""


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; subfolders are not searched.

    Files are recognized by their contents; a warning names those that are passed over.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it has no images, or cannot be listed.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"no image folder {folder}")
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    others = [entry for entry in entries if entry.is_file()]
    files = [file for file in others if is_image_file(file)]
    if not files:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES)[:4])
        raise ValueError(f"{folder} contains no images; expected files like {suffixes}")
    if passed_over := [file.name for file in others if file not in set(files)]:
        _log.warning("%s: %s", folder, passed_over_text(passed_over, len(others)))
    return files


def is_image_file(file: Path) -> bool:
    """Return whether a file is an image by its first bytes, or at least by its suffix."""
    return file.suffix.lower() in IMAGE_SUFFIXES or bool(image_format(read_head(file)))


def read_head(file: Path) -> bytes:
    """Return a file's first bytes; empty if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(4096)
    except OSError:
        return b""


def passed_over_text(names: list[str], files: int) -> str:
    """Return the message that names files of a folder which are not read."""
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} of {files} files are passed over, OpenCV cannot read them: {shown}"


def read_image(path: str | Path) -> Image:
    """Read an image file as RGB uint8 (height, width, 3).

    Gray images become RGB, deeper images 8-bit by the range of their values (see ``to_8_bit``),
    transparency is dropped, and the rotation of EXIF and AVIF is applied.

    Raises:
        ImageError: If there is no such file, or it is not a complete image that OpenCV can decode.
    """
    if isinstance(path, str) and is_url(path):
        raise ImageError(f"{redacted(path)}: an address, not a file; download it first")
    path = Path(path)
    try:
        if not path.is_file():
            reason = "a folder, not an image" if path.is_dir() else "no such file"
            raise ImageError(f"{path}: {reason}")
        data = path.read_bytes()
    except OSError as error:
        name = short_name(str(path))
        raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode an image file in memory; see ``read_image``.

    Args:
        data: The contents of the file.
        name: Name of the image in error messages.

    Raises:
        ImageError: If it is not a complete image that OpenCV can decode, has over MAX_PIXELS, or
            is an animation or one of several images in the file.
    """
    structure = read_structure(data)
    if structure.kind != "single":
        raise ImageError(
            f"{name}: {_KINDS[structure.kind]}; expected one image (slimpose predict reads all)"
        )
    return decode_single(data, structure, name=name)


@finished_at_exit()
def decode_single(data: bytes, structure: ImageStructure, *, name: str, page: int = 0) -> Image:
    """Decode one image of a file in memory, whose structure is known; else as above."""
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    if structure.size is not None:
        check_pixels(structure.size, name)
    if not structure.is_complete:
        raise ImageError(
            f"{name}: the image is truncated: its end marker is missing "
            "(an unfinished download or copy?)"
        )
    if not structure.pages:
        raise ImageError(
            f"{name}: only a preview in it can be read "
            "(the raw file of a camera? convert it to JPEG)"
        )
    if structure.format == "heic":
        return _decode_heic(data, name)
    orientation = avif_orientation(data) if structure.format == "avif" else None
    flags = cv2.IMREAD_COLOR  # EXIF rotation applied
    # Of AVIF OpenCV knows the range of values, but not how it is to be turned.
    flags |= cv2.IMREAD_ANYDEPTH if structure.format != "avif" else 0
    flags |= cv2.IMREAD_IGNORE_ORIENTATION if orientation is not None else 0

    if structure.format == "ico":
        data = largest_icon(data) or b"\0"
    number = structure.pages[page]

    def decode() -> np.ndarray | None:
        buffer = np.frombuffer(data, np.uint8)
        if number == 0:
            return cv2.imdecode(buffer, flags)
        _, images = cv2.imdecodemulti(buffer, flags, range=(number, number + 1))
        return images[0] if images else None

    try:
        pixels, messages = with_messages(decode)
    except cv2.error as error:
        raise ImageError(f"{name}: not an image OpenCV can decode: {error.err or error}") from error
    if pixels is None:
        cause = _findings(messages) or "damaged, or another kind of file?"
        raise ImageError(f"{name}: not an image OpenCV can decode ({cause})")
    if _DAMAGE.search(messages):
        raise ImageError(f"{name}: the image is damaged: {_findings(messages)}")
    check_pixels(Size(*pixels.shape[:2]), name)
    image = to_rgb(to_8_bit(pixels, name=name, max_value=structure.max_value))
    return turned(image, *orientation) if orientation is not None else image


def _decode_heic(data: bytes, name: str) -> Image:
    try:
        opened = heic.open_heic(data)
        check_pixels(Size(*opened.size[::-1]), name)
        return heic.decode(opened)
    except (ImageError, heic.NoHeicDecoderError) as error:
        raise ImageError(str(error) if isinstance(error, ImageError) else f"{name}: {error}") from (
            error
        )
    except (ValueError, OSError, RuntimeError, EOFError, SyntaxError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{name}: the HEIC image is damaged or truncated: {reason}") from error


def _findings(messages: str) -> str:
    """What decoders found, without their names."""
    return _DECODER.sub("", messages)


def to_rgb(pixels: np.ndarray) -> Image:
    """Return an image of OpenCV, BGR or gray, as RGB; in place where possible, to save memory."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def turned(image: Image, quarter_turns: int, mirror_axis: int | None) -> Image:
    """Return the image turned counterclockwise by 90 degrees each, then mirrored."""
    image = np.rot90(image, quarter_turns)
    return np.ascontiguousarray(image if mirror_axis is None else np.flip(image, mirror_axis))


def to_8_bit(pixels: np.ndarray, *, name: str, max_value: int | None = None) -> np.ndarray:
    """Return pixels of any depth as uint8, by the range of their values.

    Cameras write 10, 12 or 14 bits into 16-bit files, where no header states it: the range is then
    the smallest of 8, 10, 12, 14 and 16 bits that holds all values. Values whose lowest bits are
    all 0 are in the upper bits of 16, but for 8-bit values in the upper ones of 10, 12 or 14.
    Floating-point pixels are 0..1, or have one of these ranges.

    Args:
        pixels: Any array of an image.
        name: Name of the image in error messages.
        max_value: The largest possible value, if the file states it.

    Raises:
        ImageError: If there are negative, infinite or undefined values.

    >>> to_8_bit(np.array([0, 512, 1023], np.uint16), name="10 bits in 16")
    array([  0, 128, 255], dtype=uint8)
    """
    if pixels.dtype == np.uint8 and max_value in (None, 255):
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise ImageError(
            f"{name}: its {pixels.dtype} pixels are {low:g}..{high:g}; "
            "expected positive numbers (measurements rather than an image?)"
        )
    if max_value is None:
        max_value = _value_range(pixels, high)
    if pixels.dtype == np.uint16:  # by a table, to save memory
        return to_8_bit(np.arange(65536, dtype=np.int32), name=name, max_value=max_value)[pixels]
    scaled = pixels.astype(np.float32) * np.float32(255 / max_value)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _value_range(pixels: np.ndarray, high: float) -> int:
    """The largest value that the pixels could have, by those they have."""
    if pixels.dtype.kind == "f":
        return next((top for top in (1, *_VALUE_RANGES) if high <= top), int(high))
    if pixels.dtype.itemsize > 1:
        bits = int(np.bitwise_or.reduce(pixels, axis=None))
        step = bits & -bits
        if step > 2 or not (pixels % 257).any():  # fewer bits in the upper ones, or times 257
            shifted = _SHIFTED_RANGES.get(step, 65535)
            return shifted if high <= shifted else 65535
    return next((top for top in _VALUE_RANGES if high <= top), int(high))


class FrameDepth:
    """Converts the 16-bit frames of a video to uint8, by the range of the values so far.

    Cameras for heat and near infrared write 10 to 14 bits. The range of a video only grows, so that
    dark frames stay dark.
    """

    def __init__(self) -> None:
        self._max_value = 1

    def to_8_bit(self, pixels: np.ndarray, *, name: str) -> np.ndarray:
        """Return a frame as uint8; one of 8 bits as it is."""
        if pixels.dtype == np.uint8:
            return pixels
        if high := float(pixels.max()):
            self._max_value = max(self._max_value, _value_range(pixels, high))
        return to_8_bit(pixels, name=name, max_value=self._max_value)


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
        cause = " (a batch? list(images) is a list of images)"
    elif image.dtype.kind == "f":
        cause = " (0..1? (image * 255).astype(np.uint8) converts it)"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"the image is {image.dtype} {image.shape}; "
            f"expected uint8 (height, width, 3), RGB{cause}"
        )


def check_pixels(size: Size, name: str) -> None:
    """Raise ImageError if an image has over MAX_PIXELS."""
    if size.height * size.width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size.width}x{size.height} pixels (width x height) are "
            f"{size.height * size.width / 1e6:.0f} million; expected at most "
            f"{MAX_PIXELS // 1_000_000} million (make it smaller first)"
        )
