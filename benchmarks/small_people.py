"""Measure how many of 260 people of 60 pixels the detector finds, with tiles and without.

    python benchmarks/small_people.py
    python benchmarks/small_people.py --annotations person_keypoints.json --images images

The image is 1920x1080: people cut out of photos by their boxes, 60 pixels high, in a grid on gray.
They are the people that the detector finds in the sample photos, or the first 260 labeled ones of
COCO annotations that are over 120 pixels high and show 10 keypoints or more. The last line is JSON:
figures, processor, versions, commit.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import machine
import numpy as np

import slimpose
from slimpose.arrays import Image
from slimpose.cli.arguments import run
from slimpose.geometry import box_iou
from slimpose.measure.synthetic_video import extract_people
from slimpose.media.images import read_image
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.runtime.tiles import TiledDetector

ROWS, COLUMNS, HEIGHT_PX, GAP_PX = 13, 20, 60, 22
STEP_PX = 95


def main(annotations: Path | None = None, images: Path | None = None) -> None:
    """Measure both ways.

    Args:
        annotations: COCO annotations of other photos.
        images: Folder of their images.
    """
    plain = slimpose.load(threads=1).detector
    tiled = slimpose.load(threads=1, tiles="auto").detector
    assert plain is not None
    assert isinstance(tiled, TiledDetector)
    if annotations is not None and images is not None:
        people = labeled_people(annotations, images)
    else:
        patches = extract_people(sample_photos_folder(), plain)
        people = [cut(patch.rgb, patch.box) for patch in patches]
    image, boxes_image = grid_of(people)
    without = found(boxes_image, plain(image)[0])
    started_s = time.process_time()
    detected, _ = tiled(image)
    figures = {
        "people": len(boxes_image),
        "without tiles": without,
        "with tiles": found(boxes_image, detected),
        "boxes": len(detected),
        "runs": tiled.runs,
        "processor_s": round(time.process_time() - started_s, 1),
    }
    print("\n".join(f"{name}: {figure}" for name, figure in figures.items()))
    print(json.dumps(figures | machine.about()))


def cut(image: Image, box: Sequence[float] | np.ndarray) -> Image:
    """Return the part of an image in a box."""
    x1, y1, x2, y2 = (max(0, round(float(side))) for side in box)
    return image[y1:y2, x1:x2]


def labeled_people(annotations: Path, images: Path) -> list[Image]:
    """Return the labeled people that are large enough, cut out."""
    document = json.loads(annotations.read_text())
    names = {entry["id"]: entry["file_name"] for entry in document["images"]}
    people: list[Image] = []
    for entry in sorted(document["annotations"], key=lambda entry: entry["id"]):
        x, y, width, height = entry["bbox"]
        is_good = height > 2 * HEIGHT_PX and width < 1.4 * height and not entry["iscrowd"]
        if is_good and entry["num_keypoints"] >= 10 and len(people) < ROWS * COLUMNS:
            image = read_image(images / names[entry["image_id"]])
            people.append(cut(image, [x, y, x + width, y + height]))
    return people


def grid_of(people: Sequence[Image]) -> tuple[Image, np.ndarray]:
    """Return the image of people in a grid, repeated if they are too few; and their boxes."""
    image = np.full((1080, 1920, 3), (120, 130, 120), np.uint8)
    boxes: list[list[int]] = []
    for number in range(ROWS * COLUMNS):
        person, (row, column) = people[number % len(people)], divmod(number, COLUMNS)
        width = max(8, min(round(person.shape[1] * HEIGHT_PX / person.shape[0]), STEP_PX - 5))
        x, y = 5 + column * STEP_PX, 10 + row * (HEIGHT_PX + GAP_PX)
        small = cv2.resize(person, (width, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        image[y : y + HEIGHT_PX, x : x + width] = small
        boxes.append([x, y, x + width, y + HEIGHT_PX])
    return image, np.array(boxes, np.float32)


def found(people: np.ndarray, boxes: np.ndarray) -> dict[str, int]:
    """Return how many people a box has an IoU over 0.5 and over 0.3 with."""
    best = box_iou(people, boxes).max(axis=1, initial=0)
    return {f"IoU over {least}": int((best > least).sum()) for least in (0.5, 0.3)}


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
