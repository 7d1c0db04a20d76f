"""Holding out images to measure AP on: a share, or one of several folds."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath

import numpy as np

from slimpose.formats.coco import CocoFile

_MIN_FOLDERS = 5


def hold_out(
    file: CocoFile, *, start: float, stop: float, seed: int = 0
) -> tuple[CocoFile, CocoFile]:
    """Return the images to train on and those held out, with their people.

    The images are shuffled, and those of a part of them held out: ``start`` 0 and ``stop`` 0.2 for
    a fifth. Images in several folders (of one video each, whose frames are alike) stay together by
    folder if there are five or more.

    Raises:
        ValueError: If either part has no person.
    """
    folders = {PurePosixPath(image.file_name).parent for image in file.images.values()}
    by_folder = len(folders) >= _MIN_FOLDERS
    groups: dict[str, list[int]] = {}
    for image in file.images.values():
        path = PurePosixPath(image.file_name)
        groups.setdefault(str(path.parent if by_folder else path), []).append(image.id)
    names = np.random.default_rng(seed).permutation(sorted(groups))
    held = names[round(start * len(names)) : round(stop * len(names))]
    held_ids = {image_id for name in held for image_id in groups[str(name)]}
    parts = _subset(file, file.images.keys() - held_ids), _subset(file, held_ids)
    for part, use in zip(parts, ("to train on", "to measure AP on"), strict=True):
        if not part.people:
            raise ValueError(
                f"{file.path}: of {len(file.images)} images {len(part.images)} are left {use}, "
                "without any labels; expected more images, or --val and --val-images"
            )
    return parts


def _subset(file: CocoFile, image_ids: set[int]) -> CocoFile:
    return dataclasses.replace(
        file,
        images={number: image for number, image in file.images.items() if number in image_ids},
        people=tuple(person for person in file.people if person.image_id in image_ids),
    )
