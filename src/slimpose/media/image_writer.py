"""Writing images completely or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2

from slimpose.arrays import Image
from slimpose.formats.files import write_bytes
from slimpose.media.addresses import plain_reason

_JPEG_QUALITY = 92


def write_image(path: Path, image: Image) -> None:
    """Write an image file; its suffix says the format.

    The bytes are written by Python: OpenCV crashes on names that are not UTF-8.

    Raises:
        RuntimeError: If it cannot be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    try:
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise RuntimeError(f"cannot write {path}: OpenCV did not encode it")
        write_bytes(path, data.tobytes())
    except ValueError as error:  # it names the path
        raise RuntimeError(str(error)) from error
    except (OSError, cv2.error) as error:
        raise RuntimeError(f"cannot write {path}: {plain_reason(error)}") from error
