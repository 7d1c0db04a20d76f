"""The split of an annotation file into people to calibrate on and people to measure AP on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from slimpose.arrays import Crops
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.detector import MIN_SCORE, box_ap, detected_boxes
from slimpose.evaluate.pose import pose_ap, pose_records, predict_points
from slimpose.formats.coco import CocoFile
from slimpose.media.annotated_image import read_annotated_image
from slimpose.runtime.crops import crop_people, fit_canvas
from slimpose.runtime.detector import Detector
from slimpose.runtime.session import Model, ModelInfo
from slimpose.tasks import Task


def split(
    annotations: CocoFile, *, task: Task, calibration_people: int, measured_people: int
) -> tuple[CocoFile, CocoFile]:
    """Return two annotation files without common images: for calibration, and for measuring.

    Images with labeled people (for a detector: with people) are shuffled with a fixed seed; the
    first half is for calibration. From each half, images are taken until they have the requested
    number of people.

    Raises:
        ValueError: If there are fewer than two such images.
    """
    counts = people_counts(annotations, task=task)
    if len(counts) < 2:
        people = "people with labeled keypoints" if task == "pose" else "people"
        raise ValueError(
            f"{annotations.path} has {len(counts)} images with {people}; expected 2 or more: "
            "some to calibrate on, others to measure AP on"
        )
    shuffled = np.random.default_rng(0).permutation(np.array(list(counts), np.int64)).tolist()
    halfway = len(shuffled) // 2
    return (
        _subset(annotations, _take_people(shuffled[:halfway], counts, calibration_people)),
        _subset(annotations, _take_people(shuffled[halfway:], counts, measured_people)),
    )


def people_counts(annotations: CocoFile, *, task: Task) -> dict[int, int]:
    """Return the number of people in each image that has any, without crowds."""
    if task == "pose":
        boxes = ground_truth_boxes(annotations)
        return {image_id: len(found.scores) for image_id, found in boxes.items()}
    counts = {
        image_id: sum(not person.is_crowd for person in people)
        for image_id, people in annotations.people_by_image().items()
    }
    return {image_id: count for image_id, count in counts.items() if count}


def model_inputs(annotations: CocoFile, folder: Path, info: ModelInfo) -> Crops:
    """Return the model's input for these annotations: crops, or a detector's canvases.

    Raises:
        ImageError: If an image is missing or damaged.
        ValueError: If an image has another size than the file declares.
    """
    if info.task == "pose":
        crops: list[Crops] = []
        for image_id, found in ground_truth_boxes(annotations).items():
            image = read_annotated_image(annotations, folder, image_id)
            crops.append(crop_people(image, found.boxes_image, info.size)[0])
        return np.concatenate(crops)
    images = (
        read_annotated_image(annotations, folder, image_id) for image_id in annotations.images
    )
    return np.stack([fit_canvas(image, info.size, info.fit)[0] for image in images])


def average_precision(model: Model, annotations: CocoFile, folder: Path) -> float:
    """Return AP in points (0..100).

    Of keypoints in ground-truth boxes without flip test, or of a detector's boxes.
    """
    info = model.info
    if info.task == "pose":
        boxes = ground_truth_boxes(annotations)
        records = pose_records(
            annotations, folder, boxes, predict_points(model), crop_size=info.size, batch_size=16
        )
        return 100 * pose_ap(annotations, records)["AP"]
    found = detected_boxes(annotations, folder, Detector(model, score_threshold=MIN_SCORE))
    return 100 * box_ap(annotations, found)["AP"]


def _take_people(image_ids: list[int], counts: dict[int, int], people: int) -> list[int]:
    before = np.cumsum([0, *(counts[image_id] for image_id in image_ids)])[:-1]
    return [
        image_id for image_id, already in zip(image_ids, before, strict=True) if already < people
    ]


def _subset(annotations: CocoFile, image_ids: list[int]) -> CocoFile:
    wanted = set(image_ids)
    return dataclasses.replace(
        annotations,
        images={image_id: annotations.images[image_id] for image_id in image_ids},
        people=tuple(person for person in annotations.people if person.image_id in wanted),
    )
