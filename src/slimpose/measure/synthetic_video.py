"""Videos with a known number of people, for measuring speed.

People cut from photos swing to and fro on a gray background. Speed depends on the number of people
that are processed, so ``GroundTruthDetector`` runs the detector and then returns the video's own
boxes. Accuracy is not measured with such videos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.media.images import decode_image, read_image
from slimpose.runtime.detector import Detector
from slimpose.runtime.sample_photos import photo_files, sample_photos_folder

SIZE = Size(720, 1280)
FRAMES = 24
"""Length of a video; its motion is periodic, so it can be repeated without a jump."""
_MAX_PER_ROW = 6
_PEOPLE_PER_PHOTO = 3
_MARGIN = 0.02
"""Share of a person's longer side that is kept around them."""
_JPEG_QUALITY = 90
_SWING_PX = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonPatch:
    """A person with a little background (RGB), and their box in the patch's pixels."""

    rgb: UInt8[np.ndarray, "_height _width 3"]
    box: Float32[np.ndarray, "4"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticVideo:
    """Frames as JPEG, as a camera sends them, and the people's boxes in each frame."""

    jpegs: Sequence[bytes]
    boxes_image: Sequence[Float32[np.ndarray, "_n 4"]]

    def frame(self, index: int) -> Image:
        """Return a decoded frame; after the last one the video starts again."""
        return decode_image(self.jpegs[index % len(self.jpegs)], name="synthetic video")


class GroundTruthDetector(Detector):
    """A detector that runs as usual and then returns known boxes instead of its own.

    Attributes:
        boxes_image: The boxes to return.
    """

    boxes_image: Boxes = np.zeros((0, 4), np.float32)

    def __call__(
        self, image: Image, *, score_threshold: float | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Run the detector on the image and return the known boxes."""
        super().__call__(image, score_threshold=score_threshold)
        return self.boxes_image, np.full(len(self.boxes_image), 0.9, np.float32)


def extract_people(photos: Path, detector: Detector) -> list[PersonPatch]:
    """Return the people that a detector finds in a folder of photos, tallest first.

    At most three of each photo are taken.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it has no image, or no person is found.
    """
    people: list[PersonPatch] = []
    for file in photo_files(photos):
        image = read_image(file)
        boxes, _ = detector(image)
        tallest = np.argsort(boxes[:, 1] - boxes[:, 3], kind="stable")[:_PEOPLE_PER_PHOTO]
        people += [_patch(image, boxes[row]) for row in tallest]
    if not people:
        raise ValueError(
            f"{detector.session.info.name} finds no people in the photos of {photos}; "
            "expected at least one"
        )
    return sorted(people, key=lambda patch: -len(patch.rgb))


def sample_people(photos: Path | None, detector: Detector) -> tuple[list[PersonPatch], str]:
    """Return people for videos, and a description of them.

    They come from the given folder, or else from the sample photos.
    """
    folder = photos or sample_photos_folder()
    patches = extract_people(folder, detector)
    return patches, f"{len(patches)} people from the photos in {folder}"


def make_video(
    patches: Sequence[PersonPatch], people: int, *, size: Size = SIZE, frames: int = FRAMES
) -> SyntheticVideo:
    """Return a video of a number of people, side by side; patches are repeated as needed.

    Raises:
        ValueError: If there is no patch, or a number is under 1.
    """
    if not patches or people < 1 or frames < 1:
        raise ValueError(
            f"a video of {people} people, {len(patches)} patches, {frames} frames; "
            "expected 1 or more each"
        )
    placed = _place(patches, people, size)
    background = _background(size)
    jpegs: list[bytes] = []
    boxes_image: list[np.ndarray] = []
    for frame in range(frames):
        image, boxes = background.copy(), []
        for number, (rgb, box, left, top) in enumerate(placed):
            swing = _SWING_PX * math.sin(2 * math.pi * (frame / frames + number / 7))
            x = min(max(0, round(left + swing)), size.width - rgb.shape[1])
            image[top : top + rgb.shape[0], x : x + rgb.shape[1]] = rgb
            boxes.append(box + np.array([x, top, x, top], np.float32))
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        is_encoded, jpeg = cv2.imencode(".jpg", image[:, :, ::-1], quality)
        assert is_encoded
        jpegs.append(jpeg.tobytes())
        boxes_image.append(np.stack(boxes).astype(np.float32))
    return SyntheticVideo(jpegs=jpegs, boxes_image=boxes_image)


def _place(
    patches: Sequence[PersonPatch], people: int, size: Size
) -> list[tuple[Image, np.ndarray, float, int]]:
    """Return each person's patch and box, scaled to a cell of a grid, and its left and top."""
    rows = math.ceil(people / _MAX_PER_ROW)
    columns = math.ceil(people / rows)
    cell_width, cell_height = size.width // columns, size.height // rows
    placed: list[tuple[Image, np.ndarray, float, int]] = []
    for number in range(people):
        patch = patches[number % len(patches)]
        height, width = patch.rgb.shape[:2]
        scale = min((cell_height - 4) / height, (cell_width - 2 * _SWING_PX - 4) / width)
        width, height = max(8, int(scale * width)), max(8, int(scale * height))
        rgb = cv2.resize(patch.rgb, (width, height), interpolation=cv2.INTER_AREA)
        left = (number % columns) * cell_width + (cell_width - width) / 2
        top = (number // columns) * cell_height + (cell_height - height) // 2
        placed.append((rgb, patch.box * np.float32(scale), left, top))
    return placed


def _patch(image: Image, box: np.ndarray) -> PersonPatch:
    margin = _MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
    x1, y1 = np.floor(np.maximum(box[:2] - margin, 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(box[2:] + margin, (image.shape[1], image.shape[0]))).astype(int)
    inside = box - np.array([x1, y1, x1, y1], np.float32)
    return PersonPatch(rgb=np.ascontiguousarray(image[y1:y2, x1:x2]), box=inside.astype(np.float32))


def _background(size: Size) -> Image:
    """Return a gray image that brightens to the right, with grain like a camera's."""
    ramp = np.linspace(90, 150, size.width)[None, :, None]
    grain = np.random.default_rng(0).normal(0, 3, (*size, 1))
    return np.clip(np.broadcast_to(ramp + grain, (*size, 3)), 0, 255).astype(np.uint8)
