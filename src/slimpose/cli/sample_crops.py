"""Crops of people in a folder of images, for commands that test models on real people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, Image, PersonScores, Size
from slimpose.formats import coco
from slimpose.media.annotated_image import read_annotated_image
from slimpose.media.images import read_image
from slimpose.runtime.crops import crop_people
from slimpose.runtime.detector import Detector
from slimpose.runtime.models import DEFAULT_DETECTOR, resolve
from slimpose.runtime.sample_photos import photo_files
from slimpose.runtime.session import Session

_ImageBoxes = tuple[Callable[[], Image], Boxes]
"""A function that reads an image, and the boxes of its people."""


def sample_crops(
    folder: Path, annotations: Path | None, *, size: Size, people: int, threads: int | None = None
) -> tuple[Crops, PersonScores]:
    """Return crops of people, and the areas of their boxes in square crop pixels.

    Args:
        folder: Folder of the images.
        annotations: COCO file with the boxes; None runs the shipped detector.
        size: Size of the crops.
        people: Maximum number of crops.
        threads: CPU threads of the detector; chosen by the backend by default.

    Raises:
        FileNotFoundError, NotADirectoryError: If a file or the folder is missing.
        ValueError: If there are no people.
    """
    boxes = (
        _annotated_boxes(annotations, folder)
        if annotations is not None
        else _detected_boxes(folder, threads, people)
    )
    crops: list[np.ndarray] = []
    areas: list[np.ndarray] = []
    left = people
    for read, boxes_image in boxes:
        chosen = boxes_image[:left]
        image_crops, to_crop = crop_people(read(), chosen, size)
        crops.append(image_crops)
        areas.append(geometry.box_areas(chosen) * to_crop[:, 0, 0] * to_crop[:, 1, 1])
        left -= len(image_crops)
        if left <= 0:
            break
    if not any(map(len, crops)):
        cause = " (the shipped detector finds people only; expected --annotations of others)"
        raise ValueError(
            f"no people in the images of {folder}: nothing to compare"
            f"{cause if annotations is None else ''}"
        )
    return np.concatenate(crops), np.concatenate(areas).astype(np.float32)


def _annotated_boxes(annotations: Path, folder: Path) -> list[_ImageBoxes]:
    """Boxes with an area, of every image that has some."""
    truth = coco.read(annotations, keypoints=False, areas=False)
    truth.check_images(folder)
    boxes: list[_ImageBoxes] = []
    for image_id, people in truth.people_by_image().items():
        found = [one.box_image for one in people if one.has_box and not one.is_crowd]
        if found:
            boxes.append((partial(read_annotated_image, truth, folder, image_id), np.stack(found)))
    return boxes


def _detected_boxes(folder: Path, threads: int | None, people: int) -> list[_ImageBoxes]:
    """Boxes of as many images as needed for this number of people."""
    files = photo_files(folder)
    detector = Detector(Session(resolve(DEFAULT_DETECTOR), threads=threads))
    boxes: list[_ImageBoxes] = []
    for file in files:
        boxes_image, _ = detector(read_image(file))
        if len(boxes_image):
            boxes.append((partial(read_image, file), boxes_image))
        if sum(len(found) for _, found in boxes) >= people:
            break
    return boxes
