"""Differences between the outputs of two pose models on the same crops or images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from slimpose import geometry
from slimpose.arrays import Crops, Image, PersonScores
from slimpose.messages import quoted
from slimpose.oks import oks_matrix
from slimpose.poses import Poses
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Model, ModelInfo
from slimpose.skeleton import Skeleton
from slimpose.tracking.assignment import assign

_MIN_SIMILARITY = 0.5
"""Two people of an image are the same if the IoU of their boxes or the OKS is at least this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionDrift:
    """How far the outputs of two models differ.

    Attributes:
        pixels: Whether distances are in pixels of the crops or of the images.
        people: Crops compared, or people that both models find.
        unmatched_a: People that only the first model finds; 0 if the crops are given.
        unmatched_b: People that only the second model finds; likewise.
        joints: Joints that score over the threshold in both models; the distances and OKS are of
            these.
        mean_px: Mean distance between the two points of a joint.
        p95_px: 95th percentile of the distances.
        max_px: Largest distance; tens of pixels where a model picks another peak of the heatmap.
        score_mean: Mean difference of the scores of all joints.
        score_max: Largest difference of the scores.
        oks_mean: Mean OKS of a person's two poses (1 if they are equal).
        oks_min: Smallest OKS.
        map_rms: Root mean square difference of the heatmaps; None if a model does not output them.
        map_max: Largest difference of the heatmaps; likewise.
    """

    pixels: Literal["crop", "image"] = "crop"
    people: int
    unmatched_a: int = 0
    unmatched_b: int = 0
    joints: int
    mean_px: float
    p95_px: float
    max_px: float
    score_mean: float
    score_max: float
    oks_mean: float
    oks_min: float
    map_rms: float | None
    map_max: float | None


class _Differences:
    """Collects the differences of two models' points and scores."""

    def __init__(self, skeleton: Skeleton, min_score: float) -> None:
        self._skeleton, self._min_score = skeleton, min_score
        self._distances: list[np.ndarray] = [np.zeros(0)]
        self._score_differences: list[np.ndarray] = [np.zeros(0)]
        self._similarities: list[float] = []
        self._people = 0

    def add(
        self,
        points: tuple[np.ndarray, np.ndarray],
        scores: tuple[np.ndarray, np.ndarray],
        areas: PersonScores,
    ) -> None:
        """Add the points (n, joints, 2) and scores (n, joints) of both models for n people.

        ``areas`` (n,) are the people's, in the square pixels of the points.
        """
        counted = np.minimum(*scores) > self._min_score
        self._people += len(counted)
        self._distances.append(np.linalg.norm(points[0] - points[1], axis=2)[counted])
        self._score_differences.append(np.abs(scores[0] - scores[1]).ravel())
        for row in np.flatnonzero(counted.any(axis=1)):
            one = slice(row, row + 1)
            similarity = oks_matrix(
                points[0][one], points[1][one], areas[one], self._skeleton, counted_a=counted[one]
            )
            self._similarities.append(float(similarity[0, 0]))

    def drift(
        self,
        *,
        pixels: Literal["crop", "image"] = "crop",
        unmatched: tuple[int, int] = (0, 0),
        map_rms: float | None = None,
        map_max: float | None = None,
    ) -> PredictionDrift:
        """Return the drift; ValueError if no joint counts."""
        distance_px = np.concatenate(self._distances)
        if len(distance_px) == 0:
            only = f" (unmatched: {unmatched[0]} and {unmatched[1]})" if any(unmatched) else ""
            raise ValueError(
                f"of {self._people} people{only} no joint scores over {self._min_score:g} in both "
                "models: nothing to compare (no people in these images? a lower threshold?)"
            )
        score_difference = np.concatenate(self._score_differences)
        return PredictionDrift(
            pixels=pixels,
            people=self._people,
            unmatched_a=unmatched[0],
            unmatched_b=unmatched[1],
            joints=len(distance_px),
            mean_px=float(distance_px.mean()),
            p95_px=float(np.percentile(distance_px, 95)),
            max_px=float(distance_px.max()),
            score_mean=float(score_difference.mean()),
            score_max=float(score_difference.max()),
            oks_mean=float(np.mean(self._similarities)),
            oks_min=float(np.min(self._similarities)),
            map_rms=map_rms,
            map_max=map_max,
        )


def compare_models(
    a: Model,
    b: Model,
    crops: Crops,
    areas_crop: PersonScores,
    *,
    min_score: float = 0.3,
    batch_size: int = 16,
) -> PredictionDrift:
    """Return how far the outputs of model b differ from those of model a, the reference.

    Both get the uint8 crops (n, H, W, 3), ``batch_size`` per call. ``areas_crop`` (n,) is the area
    of each person's box in square crop pixels: the scale of the OKS. Joints that score lower than
    ``min_score`` in either model do not count.

    Raises:
        ValueError: If the models are not comparable, or no joint counts.
    """
    if a.info.size != b.info.size or a.info.skeleton.joints != b.info.skeleton.joints:
        raise ValueError(
            f"{a.info.name} takes {a.info.size} crops and outputs {len(a.info.skeleton.joints)} "
            f"joints, {b.info.name} {b.info.size} and {len(b.info.skeleton.joints)}; expected the "
            "same size and joints in both"
        )
    outputs = ["points", "scores"]
    if "heatmaps" in a.outputs and "heatmaps" in b.outputs:
        outputs.append("heatmaps")
    differences = _Differences(a.info.skeleton, min_score)
    squared_sum, map_max, cells = 0.0, 0.0, 0
    for start in range(0, len(crops), batch_size):
        rows = slice(start, start + batch_size)
        output_a, output_b = a.run(crops[rows], outputs), b.run(crops[rows], outputs)
        differences.add((output_a[0], output_b[0]), (output_a[1], output_b[1]), areas_crop[rows])
        if len(outputs) == 3:
            difference = np.abs(output_a[2] - output_b[2])
            squared_sum += float((difference**2).sum())
            map_max = max(map_max, float(difference.max()))
            cells += difference.size
    return differences.drift(
        map_rms=float(np.sqrt(squared_sum / cells)) if cells else None,
        map_max=map_max if cells else None,
    )


def compare_pipelines(
    a: Pipeline,
    b: Pipeline,
    images: Iterable[Image],
    *,
    min_score: float = 0.3,
    people: int = 500,
) -> PredictionDrift:
    """Return how far the poses of pipeline b differ from those of a, which find people themselves.

    People are matched by the IoU of their boxes or by OKS; those that only one finds are counted.
    No further image is read once a has found this number of ``people``.

    Raises:
        ValueError: If the models have other joints, or no joint counts.
    """
    infos = [pipeline.estimator.session.info for pipeline in (a, b)]
    _check_joints(*infos)
    differences = _Differences(infos[0].skeleton, min_score)
    found, matched = np.zeros(2, int), 0
    for image in images:
        poses = a(image), b(image)
        rows = np.array(_same_people(*poses), int).reshape(-1, 2)
        pairs = [one[rows[:, side]] for side, one in enumerate(poses)]
        differences.add(
            (pairs[0].points_image, pairs[1].points_image),
            (pairs[0].scores, pairs[1].scores),
            geometry.box_areas(pairs[0].boxes_image),
        )
        found += [len(one) for one in poses]
        matched += len(rows)
        if found[0] >= people:
            break
    only_a, only_b = (int(count) for count in found - matched)
    return differences.drift(pixels="image", unmatched=(only_a, only_b))


def _check_joints(a: ModelInfo, b: ModelInfo) -> None:
    if a.skeleton.joints != b.skeleton.joints:
        raise ValueError(
            f"{a.name} outputs {len(a.skeleton.joints)} joints of {quoted(a.skeleton.name)}, "
            f"{b.name} {len(b.skeleton.joints)} of {quoted(b.skeleton.name)}; expected the same "
            "joints in both"
        )


def _same_people(a: Poses, b: Poses) -> list[tuple[int, int]]:
    """Return the rows of the people of an image that are in both."""
    if not len(a) or not len(b):
        return []
    areas = geometry.box_areas(a.boxes_image)
    similarity = np.maximum(
        geometry.box_iou(a.boxes_image, b.boxes_image),
        oks_matrix(a.points_image, b.points_image, areas, a.skeleton),
    )
    return assign(similarity, _MIN_SIMILARITY)


def exceeded_limits(
    drift: PredictionDrift, *, max_px: float | None, max_p95_px: float | None
) -> Sequence[str]:
    """Return a sentence for each limit that the drift exceeds.

    NaN exceeds any limit, and so do people that only one of the models finds.
    """
    limits = (
        ("the largest distance", drift.max_px, max_px),
        ("the 95th percentile", drift.p95_px, max_p95_px),
    )
    exceeded = [
        f"{what} is {value:.3f} px; at most {limit:g} is allowed"
        for what, value, limit in limits
        if limit is not None and not value <= limit
    ]
    unmatched = drift.unmatched_a + drift.unmatched_b
    if unmatched and any(limit is not None for *_, limit in limits):
        exceeded.append(f"people that only one model finds: {unmatched}; 0 are allowed")
    return exceeded
