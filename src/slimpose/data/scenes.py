"""Whole pictures with people boxed, for the detector; batch i is a pure function of i."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, Image, Size
from slimpose.data.augment import Augmentation, jitter_color
from slimpose.data.order import SampleOrder
from slimpose.data.people import available_memory_bytes, compress_image
from slimpose.formats import coco
from slimpose.media.images import decode_image, image_files, read_image
from slimpose.runtime.crops import CANVAS_GRAY

_LEAST_VISIBLE = 0.3
_LEAST_SIDE_PX = 4.0
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImage:
    """A picture in memory (as it is, or packed), its boxes in its own pixels, and which of them stand for a crowd.

    Where ``is_labeled`` is false nobody has said who is in it; a teacher may.
    """

    stored: Image | bytes
    boxes_image: Boxes
    is_crowd: Bool[np.ndarray, " n"]
    source: str
    is_labeled: bool = True

    def image(self) -> Image:
        """Return the picture's pixels."""
        return (
            decode_image(self.stored, name="a packed scene")
            if isinstance(self.stored, bytes)
            else self.stored
        )


def load_images(
    annotations: coco.CocoFile,
    image_folder: Path,
    *,
    largest_side: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrainingImage]:
    """Read every picture, shrunk so that its longer side is at most ``largest_side``.

    Raises:
        ImageError: If a picture is missing or broken.
    """

    def load(entry: tuple[int, list[coco.CocoPerson]]) -> TrainingImage:
        image_id, people = entry
        boxes = np.array([person.box_image for person in people], np.float32).reshape(-1, 4)
        image, scale = _read(image_folder / annotations.images[image_id].file_name, largest_side)
        boxes = boxes * np.float32(scale)
        sound = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return TrainingImage(
            stored=image if fits else compress_image(image),
            boxes_image=boxes[sound],
            is_crowd=np.array([person.is_crowd for person in people], bool)[sound],
            source=people[0].source if people else "",
        )

    grouped = annotations.people_by_image()
    fits = _fit_in_memory(len(grouped), largest_side)
    return _load_all(load, list(grouped.items()), on_progress)


def load_unlabeled(
    folder: Path,
    *,
    largest_side: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrainingImage]:
    """Read every picture of a folder, for a teacher to say who is in it; its source is "unlabeled".

    Raises:
        ImageError: If a picture is broken.
        NotADirectoryError: If there is no such folder.
        ValueError: If there is no picture in it.
    """
    files = image_files(folder)
    fits = _fit_in_memory(len(files), largest_side)

    def load(path: Path) -> TrainingImage:
        image, _ = _read(path, largest_side)
        return TrainingImage(
            stored=image if fits else compress_image(image),
            boxes_image=np.zeros((0, 4), np.float32),
            is_crowd=np.zeros(0, bool),
            source="unlabeled",
            is_labeled=False,
        )

    return _load_all(load, files, on_progress)


def _fit_in_memory(pictures: int, largest_side: int) -> bool:
    """Whether so many pictures take less than half of this process's memory as they are, were all 4:3.

    The other half is for those of the other kind: with labels, or without.
    """
    return pictures * 3 * 0.75 * largest_side**2 < available_memory_bytes() / 2


def _read(path: Path, largest_side: int) -> tuple[Image, float]:
    image = read_image(path)
    scale = min(1.0, largest_side / max(image.shape[:2]))
    if scale < 1:
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image, scale


def _load_all(
    load: Callable[[_Entry], TrainingImage],
    entries: list[_Entry],
    on_progress: Callable[[int, int], None],
) -> list[TrainingImage]:
    scenes: list[TrainingImage] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, scene in enumerate(pool.map(load, entries), start=1):
            scenes.append(scene)
            on_progress(done, len(entries))
    return scenes


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBatch:
    """Pictures (n, H, W, 3), the people to be found in each, and where the labels may be believed.

    ``boxes`` holds x1, y1, x2, y2 (people, 4) in input pixels for each picture; ``counts`` (n, h,
    w) is 0 at cells in crowds and in pictures without labels, 1 elsewhere.
    """

    images: Crops
    boxes: list[Float32[np.ndarray, "_ 4"]]
    counts: Float32[np.ndarray, "n h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBatches:
    """Makes the batches of one run."""

    images: list[TrainingImage]
    order: SampleOrder
    stride: int
    seed: int

    def batch(
        self, first: int, count: int, size: Size, augmentation: Augmentation
    ) -> DetectorBatch:
        """Return the batch of positions first .. first + count - 1."""
        images = np.full((count, *size, 3), CANVAS_GRAY, np.uint8)
        counts = np.ones((count, size.height // self.stride, size.width // self.stride), np.float32)
        boxes: list[Boxes] = []
        for row in range(count):
            rng = np.random.default_rng((self.seed, first + row))
            boxes.append(self._draw(rng, augmentation, first + row, images[row], counts[row]))
            images[row] = jitter_color(rng, augmentation, images[row])
        return DetectorBatch(images=images, boxes=boxes, counts=counts)

    def _draw(
        self,
        rng: np.random.Generator,
        how: Augmentation,
        position: int,
        image: Image,
        counts: np.ndarray,
    ) -> Boxes:
        """Fill one row with a scene, or with four side by side; return the people to be found."""
        height, width = image.shape[:2]
        places = [((0, 0, width, height), self.order.at(position))]
        if how.mosaic and rng.random() < how.mosaic:
            split_x, split_y = (
                (np.array([width, height]) * rng.uniform(0.3, 0.7, 2)).astype(int).tolist()
            )
            epoch = (
                position - position % self.order.epoch_length
            )  # by its lot: not always the same few
            others = [
                self.order.at(epoch + int(other))
                for other in rng.integers(0, self.order.epoch_length, 3)
            ]
            tiles = [
                (0, 0, split_x, split_y),
                (split_x, 0, width, split_y),
                (0, split_y, split_x, height),
            ]
            tiles.append((split_x, split_y, width, height))
            places = list(zip(tiles, [places[0][1], *others], strict=True))
        people: list[Boxes] = []
        for (x1, y1, x2, y2), number in places:
            scene, tile = self.images[number], Size(y2 - y1, x2 - x1)
            picture = scene.image()
            affine = _draw_view(rng, how, Size(*picture.shape[:2]), tile)
            image[y1:y2, x1:x2] = cv2.warpAffine(
                picture,
                affine,
                (tile.width, tile.height),
                flags=cv2.INTER_LINEAR,
                borderValue=(CANVAS_GRAY,) * 3,
            )
            seen, is_person = _see(scene, affine, tile)
            seen += np.array([x1, y1, x1, y1], np.float32)
            if not scene.is_labeled:
                _mark_ignored(counts, np.array([[x1, y1, x2, y2]], np.float32), self.stride)
            _mark_ignored(counts, seen[~is_person], self.stride)
            people.append(seen[is_person])
        return np.concatenate(people)


def _draw_view(
    rng: np.random.Generator, how: Augmentation, image_size: Size, canvas: Size
) -> Float32[np.ndarray, "2 3"]:
    """Draw a scale, a place and a mirror; with no augmentation, the runtime's letterbox."""
    fitted = geometry.letterbox_affine(image_size, canvas)[0].astype(np.float64)
    draws = rng.random(4)
    scale = np.exp(np.log(1 + 2 * how.scale) * (2 * draws[0] - 1))
    fitted *= scale
    room = np.array([canvas.width, canvas.height]) - fitted[0, 0] * np.array(
        [image_size.width, image_size.height]
    )
    place = np.minimum(room, 0) * draws[1:3] + np.maximum(room, 0) * draws[1:3] * min(
        1.0, 4 * how.shift
    )
    fitted[:, 2] = (fitted[0, 0] - 1) / 2 + place
    if draws[3] < how.flip:
        fitted[0, 0] *= -1
        fitted[0, 2] = place[0] * 2 + image_size.width * abs(fitted[0, 0]) - 1 - fitted[0, 2]
    return fitted.astype(np.float32)


def _see(
    scene: TrainingImage, affine: np.ndarray, size: Size
) -> tuple[Boxes, Bool[np.ndarray, " n"]]:
    """Return the boxes inside the canvas, clipped, and which are people to find (the loss leaves out the others)."""
    corners = geometry.transform_points(affine[None], scene.boxes_image.reshape(1, -1, 2)).reshape(
        -1, 2, 2
    )
    whole = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    limits = np.array([size.width, size.height, size.width, size.height], np.float32) - 0.5
    clipped = np.clip(whole, -0.5, limits)
    sides, full = clipped[:, 2:] - clipped[:, :2], whole[:, 2:] - whole[:, :2]
    inside = (sides > 0.5).all(axis=1)
    visible = sides.prod(axis=1) / np.maximum(full.prod(axis=1), 1e-6)
    findable = ~scene.is_crowd & (visible >= _LEAST_VISIBLE) & (sides.min(axis=1) >= _LEAST_SIDE_PX)
    return clipped[inside].astype(np.float32), findable[inside]


def _mark_ignored(counts: np.ndarray, boxes: np.ndarray, stride: int) -> None:
    for x1, y1, x2, y2 in np.round((boxes - (stride - 1) / 2) / stride).astype(int):
        counts[max(0, y1) : y2 + 1, max(0, x1) : x2 + 1] = 0
