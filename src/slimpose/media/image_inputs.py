"""Images as Python programs have them: arrays, paths, URLs, bytes, PIL images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from slimpose.arrays import Image, Size
from slimpose.media import image_urls
from slimpose.media.addresses import is_url, plain_reason, redacted
from slimpose.media.images import (
    ImageError,
    check_image,
    check_pixels,
    decode_image,
    read_image,
    to_8_bit,
    to_rgb,
)
from slimpose.messages import quoted

if TYPE_CHECKING:
    import PIL.Image

    ImageInput = np.ndarray | str | os.PathLike[str] | bytes | PIL.Image.Image
else:
    ImageInput = Any  # naming the type of PIL's images would import PIL

Color = Literal["rgb", "bgr"]


def load_image(source: ImageInput, *, color: Color = "rgb") -> Image:
    """Return an image in any form as RGB uint8 (height, width, 3), contiguous in memory.

    Args:
        source: An array, the path or the http(s) address of an image file, the bytes of one, or a
            PIL image of any mode, which is turned upright by its EXIF orientation as files are.
        color: Order of an array's channels; "bgr" is OpenCV's. Other forms define it themselves.

    Raises:
        ImageError: If it is none of these, or cannot be read.
        ValueError: If there is no such color.
    """
    if color not in ("rgb", "bgr"):
        raise ValueError(f"color is {quoted(color)}; expected 'rgb', or 'bgr' for OpenCV's arrays")
    if isinstance(source, np.ndarray):
        check_image(source)
        return np.ascontiguousarray(source[:, :, ::-1] if color == "bgr" else source)
    if isinstance(source, str) and is_url(source):
        return decode_image(image_urls.fetch(source), name=redacted(source))
    if isinstance(source, str | os.PathLike):
        return read_image(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return decode_image(data, name=f"image in memory ({len(data)} bytes)")
    if is_pil(source):
        return _from_pil(source)
    raise ImageError(
        f"the image is {_kind(source)}; expected an array, a path or URL, bytes, or a PIL image"
    )


def is_read_from_data(source: object) -> bool:
    """Return whether it is a file's path, address or contents, rather than an image in memory."""
    return isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)


def is_pil(source: Any) -> bool:
    """Return whether it is a PIL image, without importing PIL."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(source, pil.Image)


def _kind(source: object) -> str:
    """What something is that is not an image, with how to convert it."""
    name = f"a {type(source).__module__}.{type(source).__qualname__}".replace("a builtins.", "a ")
    if hasattr(source, "numpy"):
        return f"{name} (a tensor? pass a list of uint8 arrays, height, width, 3)"
    if hasattr(source, "read"):
        return f"{name} (an open file? pass .read())"
    if hasattr(source, "__iter__"):
        return f"{name} (several images? pass a list of them)"
    return f"{quoted(source)} ({type(source).__name__})"


def _from_pil(image: Any) -> Image:
    from PIL import ImageOps

    name = f"PIL image {getattr(image, 'filename', '') or f'of mode {image.mode}'}"
    check_pixels(Size(image.height, image.width), name)
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode[0] in "IF":  # 32 bits, 16 bits in several byte orders, or floating point
            pixels = np.asarray(upright)
            pixels = pixels.astype(pixels.dtype.newbyteorder("="))
            pixels = to_rgb(to_8_bit(pixels, name=name))
        else:
            pixels = np.asarray(_as_rgb(upright))
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise ImageError(
            f"{name}: cannot be converted to RGB: {plain_reason(error)} (truncated, or closed?)"
        ) from error
    check_image(pixels)
    return pixels


def _as_rgb(image: Any) -> Any:
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return image.convert("RGB")
