"""Crops of the people in a folder's pictures, for verbs that try models on real people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, PersonScores, Size
from slimpose.formats import coco
from slimpose.media.images import image_files, read_image
from slimpose.runtime.crops import crop_people
from slimpose.runtime.detector import Detector
from slimpose.runtime.models import DEFAULT_DETECTOR, resolve
from slimpose.runtime.session import Session


def sample_crops(
    folder: Path, annotations: Path | None, *, size: Size, people: int, threads: int | None = None
) -> tuple[Crops, PersonScores]:
    """Return crops of at most so many people, and the areas of their boxes in square crop pixels.

    Args:
        folder: Of the pictures.
        annotations: COCO file that says where the people are; None asks the shipped detector.
        size: Of the crops.
        people: The most.
        threads: The detector's.

    Raises:
        FileNotFoundError, NotADirectoryError: If a file or the folder is missing.
        ValueError: If nobody is there.
    """
    boxes = (
        _annotated(annotations, folder)
        if annotations is not None
        else _detected(folder, threads, people)
    )
    crops, areas = _cut(boxes, size, people)
    if len(crops) == 0:
        raise ValueError(f"nobody is in the pictures of {folder}: nothing to compare")
    return crops, areas


def _annotated(annotations: Path, folder: Path) -> dict[Path, Boxes]:
    truth = coco.read(annotations, keypoints=False)
    truth.check_images(folder)
    boxes: dict[Path, Boxes] = {}
    for image_id, people in truth.people_by_image().items():
        found = [person.box_image for person in people if not person.is_crowd]
        stacked = np.array(found, np.float32).reshape(-1, 4)
        stacked = stacked[(stacked[:, 2:] > stacked[:, :2]).all(axis=1)]
        if len(stacked):
            boxes[folder / truth.images[image_id].file_name] = stacked
    return boxes


def _detected(folder: Path, threads: int | None, people: int) -> dict[Path, Boxes]:
    files = image_files(folder)
    detector = Detector(Session(resolve(DEFAULT_DETECTOR), threads=threads))
    boxes: dict[Path, Boxes] = {}
    for file in files:
        found, _ = detector(read_image(file))
        if len(found):
            boxes[file] = found
        if sum(map(len, boxes.values())) >= people:
            break
    return boxes


def _cut(boxes: dict[Path, Boxes], size: Size, people: int) -> tuple[Crops, PersonScores]:
    """Crops of at most so many people, and the areas of their boxes in square crop pixels."""
    crops: list[np.ndarray] = []
    areas: list[np.ndarray] = []
    left = people
    for file, found in boxes.items():
        cut, affines = crop_people(read_image(file), found[:left], size)
        crops.append(cut)
        areas.append(geometry.box_areas(found[:left]) * affines[:, 0, 0] * affines[:, 1, 1])
        left -= len(cut)
        if left <= 0:
            break
    if not crops:
        return np.zeros((0, *size, 3), np.uint8), np.zeros(0, np.float32)
    return np.concatenate(crops), np.concatenate(areas).astype(np.float32)
