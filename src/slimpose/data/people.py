"""Labeled people, cropped from their images once and kept in memory for training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.arrays import Affines, Boxes, Image, Points, Size
from slimpose.formats import coco
from slimpose.media.annotated_image import read_annotated_image
from slimpose.media.images import decode_image
from slimpose.runtime.machine import read_machine
from slimpose.skeleton import Skeleton

CROP_MARGIN = 1.6
"""Side of a stored crop in units of the person's box: room for augmentation beyond BOX_PADDING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLabels:
    """When to use a file's ``teacher_keypoints`` for joints without an annotation.

    Attributes:
        weight: Weight of such a joint, times the teacher's score; 0 leaves them out.
        min_agreement: Least share of the person's annotated joints that the teacher found too.
        min_score: Least score of the joint.
    """

    weight: float = 0.4
    min_agreement: float = 0.7
    min_score: float = 0.4


class StoredCrops(Sequence[Image]):
    """Images in memory: raw if they fit, else as JPEG of quality 95, about ten times smaller."""

    def __init__(self, stored: Sequence[Image | bytes]) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> Image:  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        stored = self._stored[index]
        return decode_image(stored, name=f"crop {index}") if isinstance(stored, bytes) else stored


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPeople:
    """The n people of a training set.

    ``stored_crops[i]`` is the part of the image around person i; boxes and points are in its
    pixels. ``weights`` is 0 for a joint without a label.
    """

    stored_crops: StoredCrops
    boxes_stored: Boxes
    points_stored: Points
    weights: Float32[np.ndarray, "n joints"]
    sources: list[str]
    skeleton: Skeleton

    def __len__(self) -> int:
        return len(self.stored_crops)


def select_people(
    annotations: coco.CocoFile, teacher: TeacherLabels
) -> dict[int, list[coco.CocoPerson]]:
    """Return the people to train on, by image id: those with a labeled joint, without crowds."""
    by_image = {
        image_id: [
            person for person in people if not person.is_crowd and _weights(person, teacher).any()
        ]
        for image_id, people in annotations.people_by_image().items()
    }
    return {image_id: people for image_id, people in by_image.items() if people}


def load_people(
    annotations: coco.CocoFile,
    image_folder: Path,
    *,
    crop_size: Size,
    teacher: TeacherLabels,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingPeople:
    """Crop every labeled person, downscaled so that a box fills at most ``crop_size``.

    A stored crop takes at most the memory of CROP_MARGIN/BOX_PADDING squared network inputs: 36 GB
    for COCO's 149,813 people at 256x192. If all together might take more than
    ``available_memory_bytes``, they are kept compressed: about 3 GB for those.

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If no person has a labeled joint, or a labeled person's box has no area or lies
            outside the image, or an image has another size than the file declares.
    """
    by_image = select_people(annotations, teacher)
    if not by_image:
        raise ValueError(f"{annotations.path}: no person has a labeled joint")

    raw_bytes = 3 * crop_size.height * crop_size.width * (CROP_MARGIN / geometry.BOX_PADDING) ** 2
    fits = raw_bytes * sum(map(len, by_image.values())) <= available_memory_bytes()

    def crop_image(image_id: int) -> list[tuple[coco.CocoPerson, Image | bytes, Affines]]:
        image = read_annotated_image(annotations, image_folder, image_id)
        crops: list[tuple[coco.CocoPerson, Image | bytes, Affines]] = []
        for person in by_image[image_id]:
            try:
                crop, affine = _crop(image, person.box_image, crop_size)
            except ValueError as error:
                raise ValueError(f"{annotations.path}: annotation {person.id}: {error}") from error
            crops.append((person, crop if fits else compress_image(crop), affine))
        return crops

    cropped: list[tuple[coco.CocoPerson, Image | bytes, Affines]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, of_image in enumerate(pool.map(crop_image, by_image), start=1):
            cropped.extend(of_image)
            on_progress(done, len(by_image))
    people, crops, affines = zip(*cropped, strict=True)
    to_stored = np.concatenate(affines)
    points_image = np.stack([_points(person) for person in people])
    corners = np.stack([person.box_image.reshape(2, 2) for person in people])
    return TrainingPeople(
        stored_crops=StoredCrops(crops),
        boxes_stored=geometry.transform_points(to_stored, corners).reshape(-1, 4),
        points_stored=geometry.transform_points(to_stored, points_image),
        weights=np.stack([_weights(person, teacher) for person in people]),
        sources=[person.source for person in people],
        skeleton=annotations.skeleton,
    )


def available_memory_bytes() -> int:
    """Return how many bytes of images this process may keep in memory.

    That is half of the machine's memory, shared by the processes that torchrun started on it.
    Unknown memory is assumed to be 8 GiB.
    """
    memory_bytes = read_machine().memory_bytes or 8 << 30
    return memory_bytes // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def compress_image(image: Image) -> bytes:
    """Return RGB pixels as a JPEG of quality 95."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert is_encoded
    return data.tobytes()


def _crop(
    image: Image, box_image: Float32[np.ndarray, "4"], crop_size: Size
) -> tuple[Image, Affines]:
    # A smaller overlap is of no use for training.
    geometry.check_boxes_in_image(box_image[None], image, min_overlap_px=0.5)
    height, width = image.shape[:2]
    to_crop = geometry.crop_affines(box_image[None], crop_size)[0]
    scale = min(1.0, float(to_crop[0, 0]))
    size_image = np.array([crop_size.width, crop_size.height]) / to_crop[0, 0]
    half = size_image * (CROP_MARGIN / geometry.BOX_PADDING) / 2
    center = (box_image[:2] + box_image[2:]) / 2
    x1, y1 = np.clip(np.floor(center - half), 0, (width - 1, height - 1)).astype(int)
    x2, y2 = np.clip(np.ceil(center + half), (x1 + 1, y1 + 1), (width, height)).astype(int)
    crop = image[y1:y2, x1:x2]
    if scale < 1:
        size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    affine = geometry.resize_affine(Size(y2 - y1, x2 - x1), Size(*crop.shape[:2]))
    affine[:, :, 2] -= affine[:, :, :2] @ np.array([x1, y1], np.float32)
    return np.ascontiguousarray(crop), affine


def _weights(person: coco.CocoPerson, teacher: TeacherLabels) -> Float32[np.ndarray, " joints"]:
    if person.keypoints is None or person.joint_weights is None:
        return np.zeros(0, np.float32)
    is_labeled = person.keypoints[:, 2] > 0
    weights = np.where(is_labeled, person.joint_weights, 0)
    if person.teacher_keypoints is not None and person.teacher_agreement >= teacher.min_agreement:
        scores = person.teacher_keypoints[:, 2]
        is_used = ~is_labeled & (scores >= teacher.min_score)
        weights = np.where(is_used, teacher.weight * scores, weights)
    return weights.astype(np.float32)


def _points(person: coco.CocoPerson) -> Float32[np.ndarray, "joints 2"]:
    """Return annotated points, else the teacher's (their weight decides whether they are used)."""
    assert person.keypoints is not None
    if person.teacher_keypoints is None:
        return person.keypoints[:, :2]
    return np.where(
        person.keypoints[:, 2:] > 0, person.keypoints[:, :2], person.teacher_keypoints[:, :2]
    )
