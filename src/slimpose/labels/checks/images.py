"""Checks of images: whether each can be read, has its declared size, and is in train and val."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from slimpose.arrays import Image
from slimpose.formats.coco import CocoFile
from slimpose.labels.checks.findings import Finding
from slimpose.media.annotated_image import read_annotated_image
from slimpose.media.images import ImageError

_HASH_SIDE = 16
_NEAR_BITS = 20
"""Hashes of 256 bits that differ in at most so many are of nearly the same image."""
_MIN_CONTRAST = 8
"""Images whose small version has fewer gray levels show nothing that a hash could compare."""
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint16)

Hashes = dict[int, UInt8[np.ndarray, "32"]]
"""Image id to its hash."""


def difference_hash(image: Image) -> UInt8[np.ndarray, "32"] | None:
    """Return a hash that scaling and compression hardly change; None of an image without contrast.

    Each bit is whether the image gets brighter from one cell of 16 x 17 to the next.

    Source:
        Krawetz, "Kind of Like That", 2013 (dHash), with 16 x 16 bits.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    if int(small.max()) - int(small.min()) < _MIN_CONTRAST:
        return None
    return np.packbits(small[:, 1:] > small[:, :-1])


def check_images(
    file: CocoFile,
    folder: Path,
    *,
    is_val: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Finding], Hashes]:
    """Read every image; return what is wrong with them, and the hashes of the others."""
    findings: list[Finding] = []
    hashes: Hashes = {}

    def hashed(image_id: int) -> tuple[int, UInt8[np.ndarray, "32"] | None, str]:
        try:
            return image_id, difference_hash(read_annotated_image(file, folder, image_id)), ""
        except (ImageError, ValueError) as error:
            return image_id, None, str(error).removeprefix(f"{file.path}: ")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (image_id, value, problem) in enumerate(pool.map(hashed, file.images), start=1):
            if problem:
                findings.append(
                    Finding(kind="image", text=problem, image_id=image_id, is_val=is_val)
                )
            elif value is not None:
                hashes[image_id] = value
            on_progress(done, len(file.images))
    return findings, hashes


def check_leaks(train: CocoFile, val: CocoFile, hashes: tuple[Hashes, Hashes]) -> list[Finding]:
    """Find images of val that train has too, or nearly (neighboring frames of a video)."""
    return [
        Finding(
            kind="train and val",
            text=f"{val.images[of_val].file_name} is like {train.images[of_train].file_name} in "
            f"train ({bits} of 256 bits differ)",
            image_id=of_val,
            is_val=True,
        )
        for of_val, of_train, bits in _near(hashes[1], hashes[0])
    ]


def _near(ours: Hashes, others: Hashes) -> Iterator[tuple[int, int, int]]:
    """Each image that is near to one of the others, the nearest one, and the bits that differ."""
    if not others:
        return
    ids, table = list(others), np.stack(list(others.values()))
    for image_id, value in ours.items():
        bits = _BITS[table ^ value].sum(axis=1)
        nearest = int(bits.argmin())
        if bits[nearest] <= _NEAR_BITS:
            yield image_id, ids[nearest], int(bits[nearest])
