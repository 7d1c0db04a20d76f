"""Films with a known number of people, for measuring speed: people of photos, cut out as they are, swing over a wall.

Speed depends on how many people are looked at, so ``KnownBoxes`` lets the detector do its whole
work and then answers with the film's own boxes. Accuracy is not measured with such films.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

import slimpose
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.media.images import decode_image, image_files, read_image
from slimpose.runtime.detector import Detector

SIZE = Size(720, 1280)
FRAMES = 24
"""A film's pictures; it swings, so it can go round and round."""
_ROW_OF = 6
_MARGIN = 0.02
"""Of a person's box, kept about them on each side."""
_JPEG_QUALITY = 90
_SWING_PX = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonPatch:
    """A person and what is about them: RGB, and their box in its pixels."""

    rgb: UInt8[np.ndarray, "_height _width 3"]
    box: Float32[np.ndarray, "4"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticVideo:
    """Pictures as JPEG, as a camera sends them, and where the people are in each."""

    jpegs: Sequence[bytes]
    boxes_image: Sequence[Float32[np.ndarray, "_n 4"]]

    def picture(self, index: int) -> Image:
        """Return a picture, decoded; the film goes round and round."""
        return decode_image(self.jpegs[index % len(self.jpegs)], name="made film")


class GroundTruthDetector(Detector):
    """A detector that does its work and then answers with boxes that are known.

    Attributes:
        boxes_image: What it answers.
    """

    boxes_image: Boxes = np.zeros((0, 4), np.float32)

    def __call__(self, image: Image) -> tuple[Boxes, PersonScores]:
        """Return the known boxes, after looking at the image."""
        super().__call__(image)
        return self.boxes_image, np.full(len(self.boxes_image), 0.9, np.float32)


def photos_folder() -> Path | None:
    """Return the folder of sample photos of a source checkout; None for an installed package, which has none."""
    folder = Path(slimpose.__file__).resolve().parents[2] / "examples" / "photos"
    return folder if folder.is_dir() else None


def cut_out_people(photos: Path, detector: Detector) -> list[PersonPatch]:
    """Return the people a detector finds in a folder's photos, the largest of each photo first.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it has no picture, or nobody is found.
    """
    people: list[PersonPatch] = []
    for file in image_files(photos):
        image = read_image(file)
        boxes, _ = detector(image)
        tallest = np.argsort(boxes[:, 1] - boxes[:, 3], kind="stable")[:3]
        people += [_patch(image, boxes[row]) for row in tallest]
    if not people:
        raise ValueError(
            f"{detector.session.info.name} finds nobody in the photos of {photos}; expected some people"
        )
    return sorted(people, key=lambda patch: -len(patch.rgb))


def sample_people(photos: Path | None, detector: Detector) -> tuple[list[PersonPatch], str]:
    """Return the people for films, and in words who they are: the photos', the sample photos', or a drawn figure."""
    folder = photos or photos_folder()
    if folder is None:
        return [drawn_person()], "a drawn figure (no photos: give --photos)"
    patches = cut_out_people(folder, detector)
    return patches, f"{len(patches)} people cut out of the photos in {folder}"


def drawn_person() -> PersonPatch:
    """Return a drawn figure, for where there are no photos: the networks take as long for it."""
    rgb = np.full((260, 110, 3), 150, np.uint8)
    cv2.circle(rgb, (55, 30), 18, (205, 160, 130), cv2.FILLED)
    cv2.rectangle(rgb, (35, 50), (75, 140), (60, 90, 160), cv2.FILLED)
    for ends in (((35, 55), (15, 135)), ((75, 55), (95, 135))):
        cv2.line(rgb, *ends, (205, 160, 130), 12)
    for ends in (((45, 140), (42, 245)), ((65, 140), (68, 245))):
        cv2.line(rgb, *ends, (40, 40, 60), 18)
    return PersonPatch(rgb=rgb, box=np.array([8, 10, 102, 252], np.float32))


def make_video(
    patches: Sequence[PersonPatch], people: int, *, size: Size = SIZE, frames: int = FRAMES
) -> SyntheticVideo:
    """Return a film of so many people; patches are repeated where there are fewer.

    Raises:
        ValueError: If there is no patch, or a number is under 1.
    """
    if not patches or people < 1 or frames < 1:
        raise ValueError(
            f"a film of {people} people, {len(patches)} patches, {frames} frames; expected 1 or more each"
        )
    rows = math.ceil(people / _ROW_OF)
    columns = math.ceil(people / rows)
    cell_width, cell_height = size.width // columns, size.height // rows
    placed: list[tuple[Image, np.ndarray, float, int]] = []
    for number in range(people):
        patch = patches[number % len(patches)]
        room = cell_height - 4, cell_width - 2 * _SWING_PX - 4
        scale = min(room[0] / patch.rgb.shape[0], room[1] / patch.rgb.shape[1])
        width, height = (max(8, int(scale * side)) for side in patch.rgb.shape[1::-1])
        rgb = cv2.resize(patch.rgb, (width, height), interpolation=cv2.INTER_AREA)
        left = (number % columns) * cell_width + (cell_width - width) / 2
        top = (number // columns) * cell_height + (cell_height - height) // 2
        placed.append((rgb, patch.box * np.float32(scale), left, top))
    wall = _wall(size)
    jpegs: list[bytes] = []
    boxes_image: list[np.ndarray] = []
    for frame in range(frames):
        image, boxes = wall.copy(), []
        for number, (rgb, box, left, top) in enumerate(placed):
            swing = _SWING_PX * math.sin(2 * math.pi * (frame / frames + number / 7))
            x = min(max(0, round(left + swing)), size.width - rgb.shape[1])
            image[top : top + rgb.shape[0], x : x + rgb.shape[1]] = rgb
            boxes.append(box + np.array([x, top, x, top], np.float32))
        done, code = cv2.imencode(
            ".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        assert done
        jpegs.append(code.tobytes())
        boxes_image.append(np.stack(boxes).astype(np.float32))
    return SyntheticVideo(jpegs=jpegs, boxes_image=boxes_image)


def _patch(image: Image, box: np.ndarray) -> PersonPatch:
    margin = _MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
    x1, y1 = np.floor(np.maximum(box[:2] - margin, 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(box[2:] + margin, (image.shape[1], image.shape[0]))).astype(int)
    inside = box - np.array([x1, y1, x1, y1], np.float32)
    return PersonPatch(rgb=np.ascontiguousarray(image[y1:y2, x1:x2]), box=inside.astype(np.float32))


def _wall(size: Size) -> Image:
    """A gray that brightens to the right, with a grain as cameras have."""
    ramp = np.linspace(90, 150, size.width)[None, :, None]
    grain = np.random.default_rng(0).normal(0, 3, (*size, 1))
    return np.clip(np.broadcast_to(ramp + grain, (*size, 3)), 0, 255).astype(np.uint8)
