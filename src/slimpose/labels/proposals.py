"""Labels proposed by a model, and how hard each image was for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image
from slimpose.formats.coco_document import annotation_entry, category_entry
from slimpose.labels.mirrored import mirrored_points
from slimpose.poses import Poses
from slimpose.runtime.estimator import PoseEstimator
from slimpose.skeleton import Skeleton

MIN_LABEL_SCORE = 0.3
"""Joints that score less are proposed as absent."""
CRITERIA = ("low score", "wide covariance", "mirrored passes disagree", "jump in time")
_SERIES = re.compile(r"^(.*?)([0-9]+)(\D*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The poses that a model finds in an image, and how unsure it is.

    Attributes:
        file_name: Relative to the image folder.
        height: Of the image in pixels.
        width: The same.
        poses: The instances.
        hardness: A number for each of ``CRITERIA``, larger for harder images; nan where unknown.
    """

    file_name: str
    height: int
    width: int
    poses: Poses
    hardness: tuple[float, ...]


def propose(
    image: Image, find: Callable[[Image], Poses], estimator: PoseEstimator, *, file_name: str
) -> Proposal:
    """Return the poses of an image, and the three kinds of hardness that one image shows.

    Args:
        image: RGB uint8.
        find: Finds the poses: a pipeline.
        estimator: Estimates poses in boxes, for the mirrored pass; one that finds people itself is
            called on the whole mirrored image.
        file_name: Relative to the image folder.
    """
    poses = find(image)
    unsure, wide, mirrored = 0.0, 0.0, 0.0
    if len(poses):
        weights = np.maximum(poses.scores, 1e-3)
        sizes = np.sqrt(np.maximum(geometry.box_areas(poses.boxes_image), 1.0))
        unsure = float((1 - poses.scores.mean(axis=1)).max())
        determinants = np.linalg.det(poses.covariances_image.astype(np.float64))
        widths = np.maximum(determinants, 0) ** 0.25 / sizes[:, None]
        wide = float(((widths * weights).sum(axis=1) / weights.sum(axis=1)).max())
        mirrored = _mirrored_distance(image, poses, estimator, sizes)
    else:
        unsure = 1.0
    return Proposal(
        file_name=file_name,
        height=image.shape[0],
        width=image.shape[1],
        poses=poses,
        hardness=(unsure, wide, mirrored, np.nan),
    )


def _mirrored_distance(
    image: Image, poses: Poses, estimator: PoseEstimator, sizes: np.ndarray
) -> float:
    """The mean distance to the poses of the mirrored image, as a share of the size, at most 1."""
    if estimator.finds_people:
        return float("nan")
    points, _ = mirrored_points(image, poses.boxes_image, estimator)
    apart = np.linalg.norm(points - poses.points_image, axis=2) / sizes[:, None]
    return float(np.minimum(apart, 1).mean(axis=1).max())


def with_jumps(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Add the jumps between images that follow each other: names that differ in a number by 1."""
    by_number: dict[tuple[str, str, int], Proposal] = {}
    for one in proposals:
        if match := _SERIES.match(one.file_name):
            by_number[(match[1], match[3], int(match[2]))] = one
    result = []
    for one in proposals:
        match = _SERIES.match(one.file_name)
        before = by_number.get((match[1], match[3], int(match[2]) - 1)) if match else None
        after = by_number.get((match[1], match[3], int(match[2]) + 1)) if match else None
        jump = float("nan")
        if before is not None and after is not None:
            jump = _jump(before.poses, one.poses, after.poses)
        result.append(
            Proposal(
                file_name=one.file_name,
                height=one.height,
                width=one.width,
                poses=one.poses,
                hardness=(*one.hardness[:3], jump),
            )
        )
    return result


def _jump(before: Poses, poses: Poses, after: Poses) -> float:
    """How far joints are from the middle between the images before and after, at most 1."""
    if not len(poses):
        return 1.0 if len(before) and len(after) else 0.0
    if not len(before) or not len(after):
        return 1.0
    sizes = np.sqrt(np.maximum(geometry.box_areas(poses.boxes_image), 1.0))
    worst = 0.0
    for row in range(len(poses)):
        nearest = []
        for other in (before, after):
            gaps = np.abs(other.boxes_image - poses.boxes_image[row]).sum(axis=1)
            nearest.append(other.points_image[int(gaps.argmin())])
        middle = (nearest[0] + nearest[1]) / 2
        apart = np.linalg.norm(poses.points_image[row] - middle, axis=1) / sizes[row]
        worst = max(worst, float(np.minimum(apart, 1).mean()))
    return worst


def hardest_first(proposals: Sequence[Proposal]) -> list[tuple[Proposal, float]]:
    """Return the proposals with their difficulty 0..1, the hardest first.

    Each criterion counts by its rank among all images, so none needs a scale; the difficulty is the
    mean of the ranks that are known.
    """
    if not proposals:
        return []
    values = np.array([one.hardness for one in proposals], np.float64)
    ranks = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = np.flatnonzero(np.isfinite(values[:, column]))
        if len(known) > 1 and np.ptp(values[known, column]) > 0:
            order = values[known, column].argsort(kind="stable").argsort(kind="stable")
            ranks[known, column] = order / (len(known) - 1)
    known = np.isfinite(ranks)
    difficulty = np.where(known, ranks, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = np.argsort(-difficulty, kind="stable")
    return [(proposals[row], float(difficulty[row])) for row in order]


def to_document(
    proposals: Sequence[tuple[Proposal, float]],
    skeleton: Skeleton,
    *,
    min_score: float = MIN_LABEL_SCORE,
) -> dict[str, Any]:
    """Return proposals as a COCO keypoints document, images in the order given.

    Images have ``difficulty``, annotations ``score``; tools that do not know them ignore them.
    """
    images, annotations = [], []
    for number, (one, difficulty) in enumerate(proposals, start=1):
        images.append(
            {
                "id": number,
                "file_name": one.file_name,
                "height": one.height,
                "width": one.width,
                "difficulty": round(difficulty, 4),
            }
        )
        boxes = geometry.boxes_to_xywh(_clipped(one))
        for row in range(len(one.poses)):
            shown = one.poses.scores[row] >= min_score
            visibility = np.where(shown, 2.0, 0.0)[:, None]
            points = np.clip(one.poses.points_image[row], 0, (one.width, one.height))
            entry = annotation_entry(
                annotation_id=len(annotations) + 1,
                image_id=number,
                keypoints=np.concatenate([points, visibility], axis=1).astype(np.float64),
                box_xywh=boxes[row].tolist(),
            )
            entry["score"] = round(float(one.poses.person_scores[row]), 4)
            annotations.append(entry)
    return {
        "info": {"description": "labels proposed by slimpose, to be corrected"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [category_entry(skeleton)],
    }


def _clipped(one: Proposal) -> np.ndarray:
    """The boxes within the image, at least a pixel in each direction."""
    low = np.clip(one.poses.boxes_image[:, :2], 0, (one.width - 1, one.height - 1))
    high = np.clip(one.poses.boxes_image[:, 2:], low + 1, (one.width, one.height))
    return np.concatenate([low, high], axis=1).astype(np.float32)
