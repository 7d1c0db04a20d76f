"""The people of an annotation file in two parts by image: one to calibrate on, one to measure the promise on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from slimpose.arrays import Crops
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.detector import box_ap, detect_images, detected_boxes
from slimpose.evaluate.pose import pose_ap, pose_records, predict_points
from slimpose.formats.coco import CocoFile
from slimpose.media.images import read_image
from slimpose.runtime.crops import crop_people, letterbox
from slimpose.runtime.session import Model, ModelInfo
from slimpose.tasks import Task


def split(
    annotations: CocoFile, *, task: Task, calibrated_people: int, measured_people: int
) -> tuple[CocoFile, CocoFile]:
    """Return two files of different images: for calibration, and for measuring.

    Images with labeled people (for a detector: with people) are shuffled, always in the same way;
    the first half is for calibration. Of each half images are taken until they hold as many people
    as wanted.

    Raises:
        ValueError: If there are not two such images.
    """
    counts = people_counts(annotations, task=task)
    if len(counts) < 2:
        what = "people with labeled joints" if task == "pose" else "people"
        raise ValueError(
            f"{annotations.path} has {len(counts)} images with {what}; expected 2 or more: one part of them "
            "calibrates, the other measures"
        )
    shuffled = np.random.default_rng(0).permutation(np.array(list(counts), np.int64)).tolist()
    halfway = len(shuffled) // 2
    return (
        _subset(annotations, _as_many(shuffled[:halfway], counts, calibrated_people)),
        _subset(annotations, _as_many(shuffled[halfway:], counts, measured_people)),
    )


def people_counts(annotations: CocoFile, *, task: Task) -> dict[int, int]:
    """Return how many people count, by image; images without are left out."""
    if task == "pose":
        return {
            image_id: len(found.scores)
            for image_id, found in ground_truth_boxes(annotations).items()
        }
    grouped = annotations.people_by_image()
    counts = {
        image_id: sum(not person.is_crowd for person in people)
        for image_id, people in grouped.items()
    }
    return {image_id: count for image_id, count in counts.items() if count}


def pictures(annotations: CocoFile, folder: Path, info: ModelInfo) -> Crops:
    """Return what the model would be given for this file's people: crops, or letterboxed images for a detector.

    Raises:
        ImageError: If a picture is missing or broken.
    """
    if info.task == "pose":
        cut = [
            crop_people(
                read_image(folder / annotations.images[image_id].file_name),
                found.boxes_image,
                info.size,
            )[0]
            for image_id, found in ground_truth_boxes(annotations).items()
        ]
        return np.concatenate(cut)
    images = (read_image(folder / image.file_name) for image in annotations.images.values())
    return np.stack([letterbox(image, info.size)[0] for image in images])


def average_precision(model: Model, annotations: CocoFile, folder: Path) -> float:
    """Return AP in points (0..100): of keypoints in ground-truth boxes without flip test, or of a detector's boxes."""
    info = model.info
    if info.task == "pose":
        boxes = ground_truth_boxes(annotations)
        records = pose_records(
            annotations, folder, boxes, predict_points(model), crop_size=info.size, batch_size=16
        )
        return 100 * pose_ap(annotations, records)["AP"]
    found = detected_boxes(
        annotations,
        folder,
        detect_images(model),
        canvas=info.size,
        nms_iou_threshold=info.nms_iou_threshold,
    )
    return 100 * box_ap(annotations, found)["AP"]


def _as_many(image_ids: list[int], counts: dict[int, int], people: int) -> list[int]:
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
