"""Batches for the person detector: images and their boxes; batch i is a pure function of i."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, Image, Size
from slimpose.data.augment import Augmentation, jitter_color
from slimpose.data.order import SampleOrder
from slimpose.data.people import available_memory_bytes, compress_image
from slimpose.formats import coco
from slimpose.geometry import CanvasFit
from slimpose.media.annotated_image import read_annotated_image
from slimpose.media.images import decode_image, image_files, read_image
from slimpose.runtime.crops import CANVAS_GRAY

_MIN_VISIBLE_SHARE = 0.3
_MIN_SIDE_PX = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImage:
    """An image in memory (raw or as JPEG) with boxes in its own pixels; some are of crowds.

    ``is_labeled`` is false for an image that only a teacher labels.
    """

    stored: Image | bytes
    boxes_image: Boxes
    is_crowd: Bool[np.ndarray, " n"]
    source: str
    is_labeled: bool = True

    def image(self) -> Image:
        """Return the image's pixels."""
        if isinstance(self.stored, bytes):
            return decode_image(self.stored, name="a stored training image")
        return self.stored


def load_images(
    annotations: coco.CocoFile,
    image_folder: Path,
    *,
    largest_side: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrainingImage]:
    """Read the images of a COCO file, downscaled to a longer side of at most ``largest_side``.

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If an image has another size than the file declares.
    """
    entries = [
        (partial(read_annotated_image, annotations, image_folder, image_id), people)
        for image_id, people in annotations.people_by_image().items()
    ]
    return _load_all(entries, largest_side, on_progress)


def load_unlabeled(
    folder: Path,
    *,
    largest_side: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrainingImage]:
    """Read all images of a folder, for a teacher to label; their source is "unlabeled".

    Raises:
        ImageError: If an image is broken.
        NotADirectoryError: If there is no such folder.
        ValueError: If it contains no image.
    """
    entries = [(partial(read_image, path), None) for path in image_files(folder)]
    return _load_all(entries, largest_side, on_progress)


def _load_all(
    entries: Sequence[tuple[Callable[[], Image], list[coco.CocoPerson] | None]],
    largest_side: int,
    on_progress: Callable[[int, int], None],
) -> list[TrainingImage]:
    """Read images and their people; None for unlabeled ones."""
    # Raw images, assumed to be 4:3, may take half of the available memory. The other half is for
    # images of the other kind: labeled or unlabeled.
    fits = len(entries) * 3 * 0.75 * largest_side**2 < available_memory_bytes() / 2

    def load(entry: tuple[Callable[[], Image], list[coco.CocoPerson] | None]) -> TrainingImage:
        read, all_people = entry
        people = [person for person in all_people or () if person.has_box]
        image = read()
        scale = min(1.0, largest_side / max(image.shape[:2]))
        if scale < 1:
            size = round(image.shape[1] * scale), round(image.shape[0] * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        boxes = np.array([person.box_image for person in people], np.float32)
        boxes = boxes.reshape(-1, 4) * np.float32(scale)
        is_crowd = np.array([person.is_crowd for person in people], bool)
        source = "unlabeled" if all_people is None else people[0].source if people else ""
        return TrainingImage(
            stored=image if fits else compress_image(image),
            boxes_image=boxes,
            is_crowd=is_crowd,
            source=source,
            is_labeled=all_people is not None,
        )

    images: list[TrainingImage] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, image in enumerate(pool.map(load, entries), start=1):
            images.append(image)
            on_progress(done, len(entries))
    return images


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBatch:
    """Images (n, H, W, 3), the boxes of the people in each, and where labels are reliable.

    ``boxes`` holds x1, y1, x2, y2 (people, 4) in input pixels for each image; ``label_mask``
    (n, h, w) is 0 at cells in crowds and in unlabeled images, 1 elsewhere.
    """

    images: Crops
    boxes: list[Float32[np.ndarray, "_ 4"]]
    label_mask: Float32[np.ndarray, "n h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBatches:
    """Makes the batches of one run."""

    images: list[TrainingImage]
    order: SampleOrder
    stride: int
    fit: CanvasFit
    seed: int

    def batch(
        self, first: int, count: int, size: Size, augmentation: Augmentation
    ) -> DetectorBatch:
        """Return the batch of positions first .. first + count - 1."""
        images = np.full((count, *size, 3), CANVAS_GRAY, np.uint8)
        mask = np.ones((count, size.height // self.stride, size.width // self.stride), np.float32)
        boxes: list[Boxes] = []
        for row in range(count):
            rng = np.random.default_rng((self.seed, first + row))
            boxes.append(self._draw(rng, augmentation, first + row, images[row], mask[row]))
            images[row] = jitter_color(rng, augmentation, images[row])
        return DetectorBatch(images=images, boxes=boxes, label_mask=mask)

    def _draw(
        self,
        rng: np.random.Generator,
        augmentation: Augmentation,
        position: int,
        canvas: Image,
        label_mask: np.ndarray,
    ) -> Boxes:
        """Fill a canvas with one image or a mosaic of four; return the boxes of people in it."""
        people: list[Boxes] = []
        for (x1, y1, x2, y2), number in self._tiles(rng, augmentation, position, canvas):
            source, tile = self.images[number], Size(y2 - y1, x2 - x1)
            image = source.image()
            size = Size(*image.shape[:2])
            # As the runtime does with a whole canvas, the image gets the canvas's aspect ratio.
            shape = size if self.fit == "letterbox" else Size(*canvas.shape[:2])
            affine = _sample_placement(rng, augmentation, shape, tile)
            affine = affine @ _as_matrix(geometry.resize_affine(size, shape)[0])
            canvas[y1:y2, x1:x2] = cv2.warpAffine(
                image,
                affine,
                (tile.width, tile.height),
                flags=cv2.INTER_LINEAR,
                borderValue=(CANVAS_GRAY,) * 3,
            )
            boxes, is_target = _visible_boxes(source, affine, tile)
            boxes += np.array([x1, y1, x1, y1], np.float32)
            if not source.is_labeled:
                _mask_boxes(label_mask, np.array([[x1, y1, x2, y2]], np.float32), self.stride)
            _mask_boxes(label_mask, boxes[~is_target], self.stride)
            people.append(boxes[is_target])
        return np.concatenate(people)

    def _tiles(
        self, rng: np.random.Generator, augmentation: Augmentation, position: int, canvas: Image
    ) -> list[tuple[tuple[int, int, int, int], int]]:
        """Return each tile's x1, y1, x2, y2 on the canvas and the index of its image."""
        height, width = canvas.shape[:2]
        number = self.order.at(position)
        if not augmentation.mosaic or rng.random() >= augmentation.mosaic:
            return [((0, 0, width, height), number)]
        x, y = (np.array([width, height]) * rng.uniform(0.3, 0.7, 2)).astype(int).tolist()
        # The others are of the same epoch: with fractional repeats each epoch has other images.
        epoch = position - position % self.order.epoch_length
        offsets = rng.integers(0, self.order.epoch_length, 3)
        others = [self.order.at(epoch + int(offset)) for offset in offsets]
        tiles = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        return list(zip(tiles, [number, *others], strict=True))


def _sample_placement(
    rng: np.random.Generator, augmentation: Augmentation, image_size: Size, canvas: Size
) -> Float32[np.ndarray, "2 3"]:
    """Draw scale, position and flip; without augmentation it is a letterbox."""
    affine = geometry.letterbox_affine(image_size, canvas)[0].astype(np.float64)
    draws = rng.random(4)
    affine *= np.exp(np.log(1 + 2 * augmentation.scale) * (2 * draws[0] - 1))
    image_sides = np.array([image_size.width, image_size.height])
    room = np.array([canvas.width, canvas.height]) - affine[0, 0] * image_sides
    # An image larger than the canvas may lie anywhere over it.
    overhang = np.minimum(room, 0) * draws[1:3]
    corner = overhang + np.maximum(room, 0) * draws[1:3] * min(1.0, 4 * augmentation.shift)
    affine[:, 2] = (affine[0, 0] - 1) / 2 + corner
    if draws[3] < augmentation.flip:
        affine[0, 0] *= -1
        affine[0, 2] = corner[0] * 2 + image_size.width * abs(affine[0, 0]) - 1 - affine[0, 2]
    return affine.astype(np.float32)


def _as_matrix(affine: Float32[np.ndarray, "2 3"]) -> Float32[np.ndarray, "3 3"]:
    return np.concatenate([affine, np.array([[0, 0, 1]], np.float32)])


def _visible_boxes(
    source: TrainingImage, affine: np.ndarray, size: Size
) -> tuple[Boxes, Bool[np.ndarray, " n"]]:
    """Return the boxes inside the canvas, clipped, and which are targets of the loss."""
    corners = geometry.transform_points(affine[None], source.boxes_image.reshape(1, -1, 2))
    corners = corners.reshape(-1, 2, 2)
    whole = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    limits = np.array([size.width, size.height, size.width, size.height], np.float32) - 0.5
    clipped = np.clip(whole, -0.5, limits)
    sides, full = clipped[:, 2:] - clipped[:, :2], whole[:, 2:] - whole[:, :2]
    inside = (sides > 0.5).all(axis=1)
    visible = sides.prod(axis=1) / np.maximum(full.prod(axis=1), 1e-6)
    is_large = sides.min(axis=1) >= _MIN_SIDE_PX
    is_target = ~source.is_crowd & (visible >= _MIN_VISIBLE_SHARE) & is_large
    return clipped[inside].astype(np.float32), is_target[inside]


def _mask_boxes(label_mask: np.ndarray, boxes: np.ndarray, stride: int) -> None:
    for x1, y1, x2, y2 in np.round((boxes - (stride - 1) / 2) / stride).astype(int):
        label_mask[max(0, y1) : y2 + 1, max(0, x1) : x2 + 1] = 0
