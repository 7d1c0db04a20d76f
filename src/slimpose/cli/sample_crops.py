"""Crops of people in a folder of images, for commands that test models on real people."""

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
    for file, boxes_image in boxes.items():
        chosen = boxes_image[:left]
        image_crops, to_crop = crop_people(read_image(file), chosen, size)
        crops.append(image_crops)
        areas.append(geometry.box_areas(chosen) * to_crop[:, 0, 0] * to_crop[:, 1, 1])
        left -= len(image_crops)
        if left <= 0:
            break
    if not any(map(len, crops)):
        raise ValueError(f"no people in the images of {folder}: nothing to compare")
    return np.concatenate(crops), np.concatenate(areas).astype(np.float32)


def _annotated_boxes(annotations: Path, folder: Path) -> dict[Path, Boxes]:
    """Boxes with an area by image file."""
    truth = coco.read(annotations, keypoints=False)
    truth.check_images(folder)
    boxes: dict[Path, Boxes] = {}
    for image_id, people in truth.people_by_image().items():
        found = [person.box_image for person in people if not person.is_crowd]
        boxes_image = np.array(found, np.float32).reshape(-1, 4)
        boxes_image = boxes_image[(boxes_image[:, 2:] > boxes_image[:, :2]).all(axis=1)]
        if len(boxes_image):
            boxes[folder / truth.images[image_id].file_name] = boxes_image
    return boxes


def _detected_boxes(folder: Path, threads: int | None, people: int) -> dict[Path, Boxes]:
    """Boxes by image file, of as many images as needed for this number of people."""
    files = image_files(folder)
    detector = Detector(Session(resolve(DEFAULT_DETECTOR), threads=threads))
    boxes: dict[Path, Boxes] = {}
    for file in files:
        boxes_image, _ = detector(read_image(file))
        if len(boxes_image):
            boxes[file] = boxes_image
        if sum(map(len, boxes.values())) >= people:
            break
    return boxes
