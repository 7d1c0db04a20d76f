"""COCO's keypoint AP in NumPy, for any choice of joints and people.

The error analysis computes it many times. With all joints and people the figures equal those of
pycocotools (``coco_ap.py``), which a test checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from slimpose.arrays import Size
from slimpose.formats.coco import CocoFile, CocoImage, CocoPerson

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_MAX_POSES = 20
"""COCO evaluates this many poses per image, those of the highest scores."""

JointSimilarities = Float64[np.ndarray, "poses people joints"]
Similarities = Float64[np.ndarray, "poses people"]
JointMask = Bool[np.ndarray, "people joints"]
PersonMask = Bool[np.ndarray, " people"]
PoseMask = Bool[np.ndarray, " poses"]
Sigmas = Float64[np.ndarray, " joints"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePoses:
    """The annotated people and the predicted poses, best first, of one image; in image pixels.

    ``visibility`` is COCO's v: 0 not labeled, 1 hidden, 2 visible. ``joint_scores`` belong to
    ``points_predicted``.
    """

    image_id: int
    size: Size
    person_ids: tuple[int, ...]
    points_true: Float64[np.ndarray, "people joints 2"]
    visibility: Int64[np.ndarray, "people joints"]
    areas: Float64[np.ndarray, " people"]
    boxes: Float64[np.ndarray, "people 4"]
    is_crowd: PersonMask
    points_predicted: Float64[np.ndarray, "poses joints 2"]
    joint_scores: Float64[np.ndarray, "poses joints"]
    scores: Float64[np.ndarray, " poses"]

    @property
    def labeled(self) -> JointMask:
        """Which joints are annotated."""
        return self.visibility > 0

    @property
    def is_counted(self) -> PersonMask:
        """Which people a model has to find: not crowds, and not people without a labeled joint."""
        return self.labeled.any(axis=1) & ~self.is_crowd


def poses_by_image(annotations: CocoFile, records: Sequence[dict[str, Any]]) -> list[ImagePoses]:
    """Return the annotated and the predicted poses of every image, by ascending image id as COCO.

    The annotations have keypoints; the predictions are COCO keypoint result records.
    """
    predicted: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in annotations.images}
    for record in records:
        predicted[int(record["image_id"])].append(record)
    people = annotations.people_by_image()
    joints = len(annotations.skeleton.joints)
    return [
        _image_poses(annotations.images[image_id], people[image_id], predicted[image_id], joints)
        for image_id in sorted(annotations.images)
    ]


def _image_poses(
    image: CocoImage, people: Sequence[CocoPerson], records: list[dict[str, Any]], joints: int
) -> ImagePoses:
    scores = np.array([record["score"] for record in records], np.float64)
    best = np.argsort(-scores, kind="stable")[:_MAX_POSES]
    predicted = np.array([records[row]["keypoints"] for row in best], np.float64)
    predicted = predicted.reshape(-1, joints, 3)
    labels = np.array([person.keypoints for person in people], np.float64).reshape(-1, joints, 3)
    return ImagePoses(
        image_id=image.id,
        size=Size(image.height, image.width),
        person_ids=tuple(person.id for person in people),
        points_true=labels[:, :, :2],
        visibility=labels[:, :, 2].astype(np.int64),
        areas=np.array([person.area for person in people], np.float64),
        boxes=np.array([person.box_image for person in people], np.float64).reshape(-1, 4),
        is_crowd=np.array([person.is_crowd for person in people], bool),
        points_predicted=predicted[:, :, :2],
        joint_scores=predicted[:, :, 2],
        scores=scores[best],
    )


def joint_similarities(
    predicted: Float64[np.ndarray, "poses joints 2"],
    true: Float64[np.ndarray, "people joints 2"],
    areas: Float64[np.ndarray, " people"],
    sigmas: Sigmas,
) -> JointSimilarities:
    """Return the similarity of each predicted joint to the same joint of each person.

    It is exp(-d^2 / (2 area (2 sigma)^2)), the term of OKS for one joint.
    """
    return _similarity(((predicted[:, None] - true[None]) ** 2).sum(axis=3), areas, sigmas)


def _similarity(
    distance_squared: JointSimilarities, areas: Float64[np.ndarray, " people"], sigmas: Sigmas
) -> JointSimilarities:
    return np.exp(-distance_squared / (2 * sigmas) ** 2 / (areas[:, None] + np.spacing(1)) / 2)


def oks(image: ImagePoses, sigmas: Sigmas, labeled: JointMask | None = None) -> Similarities:
    """Return COCO's OKS of each pose to each person, over the labeled joints.

    For a person without labeled joints COCO uses each joint's distance to the person's box doubled
    about its center (three times as wide and high).
    """
    counted = image.labeled if labeled is None else labeled
    similar = joint_similarities(image.points_predicted, image.points_true, image.areas, sigmas)
    count = counted.sum(axis=1)
    result = (similar * counted).sum(axis=2) / np.maximum(count, 1)
    unlabeled = count == 0
    if unlabeled.any():
        low, high = image.boxes[unlabeled, :2], image.boxes[unlabeled, 2:]
        low, high = low - (high - low), high + (high - low)
        points = image.points_predicted[:, None]
        outside = np.maximum(0, low[None, :, None] - points)
        outside += np.maximum(0, points - high[None, :, None])
        similar = _similarity((outside**2).sum(axis=3), image.areas[unlabeled], sigmas)
        result[:, unlabeled] = similar.mean(axis=2)
    return result


def match(
    similarity: Similarities,
    is_ignored: PersonMask,
    is_crowd: PersonMask,
    thresholds: Float64[np.ndarray, " t"],
) -> Int64[np.ndarray, "t poses"]:
    """Return the person each pose is matched with at each threshold, or -1: greedy, as COCO does.

    Poses choose in the given order. Each takes the most similar free person that is not ignored;
    ignored people only if there is no such person. Crowds are always free. Among equals the last is
    taken.

    >>> similarity = np.array([[0.9, 0.6], [0.8, 0.7]])
    >>> match(similarity, np.zeros(2, bool), np.zeros(2, bool), np.array([0.5, 0.75])).tolist()
    [[0, 1], [0, -1]]
    """
    count, people = len(similarity), len(is_ignored)
    matched = np.full((len(thresholds), count), -1, np.int64)
    if people == 0:
        return matched
    taken = np.zeros((len(thresholds), people), bool)
    minimum = np.minimum(thresholds, 1 - 1e-10)
    rows = np.arange(len(thresholds))
    passes = [group for group in (~is_ignored, is_ignored) if group.any()]
    for pose in range(count):
        for group in passes:
            free = np.where(group & ~(taken & ~is_crowd), similarity[pose], -1.0)
            best = people - 1 - free[:, ::-1].argmax(axis=1)
            won = (matched[:, pose] < 0) & (free[rows, best] >= minimum)
            matched[won, pose] = best[won]
            taken[won, best[won]] = True
    return matched


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchingInput:
    """What COCO's matching and counting need of one image.

    Attributes:
        similarity: OKS of each pose to each person.
        scores: The scores of the poses.
        is_ignored: People that do not count; nor do the poses matched with them.
        is_crowd: People that can be matched any number of times.
        is_excused: Poses that are no false positives if they match no person.
    """

    similarity: Similarities
    scores: Float64[np.ndarray, " poses"]
    is_ignored: PersonMask
    is_crowd: PersonMask
    is_excused: PoseMask


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """COCO's average precision, 0..1, over ``people``."""

    ap: float
    ap50: float
    ap75: float
    people: int


def matching_input(image: ImagePoses, sigmas: Sigmas) -> MatchingInput:
    """Return the image as COCO evaluates it, with all joints and people."""
    return MatchingInput(
        similarity=oks(image, sigmas),
        scores=image.scores,
        is_ignored=~image.is_counted,
        is_crowd=image.is_crowd,
        is_excused=np.zeros(len(image.scores), bool),
    )


def average_precision(images: Sequence[MatchingInput]) -> AveragePrecision | None:
    """Return the AP over all images; None if no person counts."""
    people = sum(int((~image.is_ignored).sum()) for image in images)
    if people == 0:
        return None
    true, false, scores = [], [], []
    for image in images:
        order = np.argsort(-image.scores, kind="stable")
        matched = match(image.similarity[order], image.is_ignored, image.is_crowd, OKS_THRESHOLDS)
        ignored = np.append(image.is_ignored, False)[matched]  # -1, not matched, is the last
        true.append((matched >= 0) & ~ignored)
        false.append((matched < 0) & ~image.is_excused[order])
        scores.append(image.scores[order])
    best_first = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(true, axis=1)[:, best_first].cumsum(axis=1)
    misses = np.concatenate(false, axis=1)[:, best_first].cumsum(axis=1)
    each = [_area(hits[row], misses[row], people) for row in range(len(OKS_THRESHOLDS))]
    return AveragePrecision(ap=float(np.mean(each)), ap50=each[0], ap75=each[5], people=people)


def _area(hits: Int64[np.ndarray, " n"], misses: Int64[np.ndarray, " n"], people: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one."""
    precision = hits / (hits + misses + np.spacing(1))
    best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best_from_here[np.searchsorted(hits / people, _RECALLS, side="left")].mean())
