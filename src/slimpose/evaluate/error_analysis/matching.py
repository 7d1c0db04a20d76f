"""COCO's keypoint AP in NumPy, for any choice of joints and people: what the error budget computes many times over.

With everything chosen the figures are those of pycocotools (``coco_ap.py``), which a test holds it
to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from slimpose.formats.coco import CocoFile, CocoPerson

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_POSES = 20
"""COCO looks at this many poses an image, the best first."""

JointSimilarities = Float64[np.ndarray, "found people joints"]
Similarities = Float64[np.ndarray, "found people"]
JointMask = Bool[np.ndarray, "people joints"]
PersonMask = Bool[np.ndarray, " people"]
FoundMask = Bool[np.ndarray, " found"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePoses:
    """The annotated people of one image, and the poses found there, best first; image pixels.

    ``visibility`` is COCO's v: 0 not labeled, 1 hidden, 2 visible. ``joint_scores`` belong to
    ``points_found``.
    """

    image_id: int
    person_ids: tuple[int, ...]
    points_true: Float64[np.ndarray, "people joints 2"]
    visibility: Int64[np.ndarray, "people joints"]
    areas: Float64[np.ndarray, " people"]
    boxes: Float64[np.ndarray, "people 4"]
    is_crowd: PersonMask
    points_predicted: Float64[np.ndarray, "found joints 2"]
    joint_scores: Float64[np.ndarray, "found joints"]
    scores: Float64[np.ndarray, " found"]

    @property
    def labeled(self) -> JointMask:
        """Which joints are annotated."""
        return self.visibility > 0

    @property
    def is_counted(self) -> PersonMask:
        """Who is to be found: crowds and people without a labeled joint are not."""
        return self.labeled.any(axis=1) & ~self.is_crowd


def poses_by_image(annotations: CocoFile, records: Sequence[dict[str, Any]]) -> list[ImagePoses]:
    """Return every image of the file with what was found in it, in COCO's order, image ids ascending.

    Args:
        annotations: The truth, with keypoints.
        records: COCO keypoint result records.
    """
    found: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in annotations.images}
    for record in records:
        found[int(record["image_id"])].append(record)
    by_image = annotations.people_by_image()
    joints = len(annotations.skeleton.joints)
    return [
        _scene(image_id, by_image[image_id], found[image_id], joints)
        for image_id in sorted(annotations.images)
    ]


def _scene(
    image_id: int, people: Sequence[CocoPerson], records: list[dict[str, Any]], joints: int
) -> ImagePoses:
    scores = np.array([record["score"] for record in records], np.float64)
    best = np.argsort(-scores, kind="stable")[:_MOST_POSES]
    triples = np.array([records[row]["keypoints"] for row in best], np.float64).reshape(
        -1, joints, 3
    )
    labels = np.array([person.keypoints for person in people], np.float64).reshape(-1, joints, 3)
    return ImagePoses(
        image_id=image_id,
        person_ids=tuple(person.id for person in people),
        points_true=labels[:, :, :2],
        visibility=labels[:, :, 2].astype(np.int64),
        areas=np.array([person.area for person in people], np.float64),
        boxes=np.array([person.box_image for person in people], np.float64).reshape(-1, 4),
        is_crowd=np.array([person.is_crowd for person in people], bool),
        points_predicted=triples[:, :, :2],
        joint_scores=triples[:, :, 2],
        scores=scores[best],
    )


def joint_similarities(
    found: Float64[np.ndarray, "found joints 2"],
    true: Float64[np.ndarray, "people joints 2"],
    areas: Float64[np.ndarray, " people"],
    sigmas: Float64[np.ndarray, " joints"],
) -> JointSimilarities:
    """Return each found joint's similarity to the same joint of each person: exp(-d^2 / (2 area (2 sigma)^2))."""
    return _fall_off(((found[:, None] - true[None]) ** 2).sum(axis=3), areas, sigmas)


def _fall_off(
    distance_squared: JointSimilarities,
    areas: Float64[np.ndarray, " people"],
    sigmas: Float64[np.ndarray, " joints"],
) -> JointSimilarities:
    return np.exp(-distance_squared / (2 * sigmas) ** 2 / (areas[:, None] + np.spacing(1)) / 2)


def oks(
    scene: ImagePoses, sigmas: Float64[np.ndarray, " joints"], labeled: JointMask | None = None
) -> Similarities:
    """Return COCO's similarity of each pose to each person, of the joints that are labeled.

    To a person with none, as COCO has it, a joint is as similar as it is near to the person's box
    doubled about its center (three times as wide and high).
    """
    counted = scene.labeled if labeled is None else labeled
    near = joint_similarities(scene.points_predicted, scene.points_true, scene.areas, sigmas)
    number = counted.sum(axis=1)
    result = (near * counted).sum(axis=2) / np.maximum(number, 1)
    blank = number == 0
    if blank.any():
        low, high = scene.boxes[blank, :2], scene.boxes[blank, 2:]
        low, high = low - (high - low), high + (high - low)
        points = scene.points_predicted[:, None]
        beyond = np.maximum(0, low[None, :, None] - points) + np.maximum(
            0, points - high[None, :, None]
        )
        result[:, blank] = _fall_off((beyond**2).sum(axis=3), scene.areas[blank], sigmas).mean(
            axis=2
        )
    return result


def match(
    similarity: Similarities,
    is_ignored: PersonMask,
    is_crowd: PersonMask,
    thresholds: Float64[np.ndarray, " t"],
) -> Int64[np.ndarray, "t found"]:
    """Return the person each pose is matched with at each threshold, or -1: greedy, as COCO does it.

    Poses choose in the order they are given. Each takes the most similar free person who counts,
    and of those who are to be ignored only if there is none; crowds are always free. Of equals it
    takes the last.
    """
    count, people = len(similarity), len(is_ignored)
    matched = np.full((len(thresholds), count), -1, np.int64)
    if people == 0:
        return matched
    taken = np.zeros((len(thresholds), people), bool)
    least = np.minimum(thresholds, 1 - 1e-10)
    rows = np.arange(len(thresholds))
    passes = [group for group in (~is_ignored, is_ignored) if group.any()]
    for pose in range(count):
        for group in passes:
            free = np.where(group & ~(taken & ~is_crowd), similarity[pose], -1.0)
            best = people - 1 - free[:, ::-1].argmax(axis=1)
            won = (matched[:, pose] < 0) & (free[rows, best] >= least)
            matched[won, pose] = best[won]
            taken[won, best[won]] = True
    return matched


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchingInput:
    """One image, ready to be counted.

    Attributes:
        similarity: Of each pose to each person.
        scores: The poses'.
        is_ignored: People who are not to be found; whoever is matched with them does not count
            either.
        is_crowd: Who can be matched any number of times.
        is_excused: Poses that, matched with nobody, are not counted as false.
    """

    similarity: Similarities
    scores: Float64[np.ndarray, " found"]
    is_ignored: PersonMask
    is_crowd: PersonMask
    is_excused: FoundMask


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """COCO's average precision, 0..1, over ``people``."""

    ap: float
    ap50: float
    ap75: float
    people: int


def matching_input(scene: ImagePoses, sigmas: Float64[np.ndarray, " joints"]) -> MatchingInput:
    """Return the scene as COCO compares it, everything chosen."""
    return MatchingInput(
        similarity=oks(scene, sigmas),
        scores=scene.scores,
        is_ignored=~scene.is_counted,
        is_crowd=scene.is_crowd,
        is_excused=np.zeros(len(scene.scores), bool),
    )


def average_precision(comparisons: Sequence[MatchingInput]) -> AveragePrecision | None:
    """Return the precision over all images; None where nobody is to be found."""
    people = sum(int((~one.is_ignored).sum()) for one in comparisons)
    if people == 0:
        return None
    true, false, scores = [], [], []
    for one in comparisons:
        order = np.argsort(-one.scores, kind="stable")
        matched = match(one.similarity[order], one.is_ignored, one.is_crowd, OKS_THRESHOLDS)
        ignored = np.append(one.is_ignored, False)[matched]  # -1, nobody, is the last
        true.append((matched >= 0) & ~ignored)
        false.append((matched < 0) & ~one.is_excused[order])
        scores.append(one.scores[order])
    best_first = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(true, axis=1)[:, best_first].cumsum(axis=1)
    misses = np.concatenate(false, axis=1)[:, best_first].cumsum(axis=1)
    each = [_area(hits[row], misses[row], people) for row in range(len(OKS_THRESHOLDS))]
    return AveragePrecision(ap=float(np.mean(each)), ap50=each[0], ap75=each[5], people=people)


def _area(hits: Int64[np.ndarray, " n"], misses: Int64[np.ndarray, " n"], people: int) -> float:
    """The mean, over 101 recalls, of the best precision at that recall or more."""
    precision = hits / (hits + misses + np.spacing(1))
    best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best_from_here[np.searchsorted(hits / people, _RECALLS, side="left")].mean())
