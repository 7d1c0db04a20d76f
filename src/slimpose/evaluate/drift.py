"""Differences between the outputs of two pose models on the same crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Crops, PersonScores
from slimpose.oks import oks_matrix
from slimpose.runtime.session import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionDrift:
    """How far the outputs of two models differ; distances in crop pixels.

    Attributes:
        people: Crops compared.
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

    people: int
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
    distances, score_differences, similarities = [], [], []
    squared_sum, map_max, cells = 0.0, 0.0, 0
    for start in range(0, len(crops), batch_size):
        rows = slice(start, start + batch_size)
        output_a, output_b = a.run(crops[rows], outputs), b.run(crops[rows], outputs)
        counted = (output_a[1] > min_score) & (output_b[1] > min_score)
        distances.append(np.linalg.norm(output_a[0] - output_b[0], axis=2)[counted])
        score_differences.append(np.abs(output_a[1] - output_b[1]).ravel())
        for row in np.flatnonzero(counted.any(axis=1)):
            one = slice(row, row + 1)
            points_a, points_b, area = output_a[0][one], output_b[0][one], areas_crop[rows][one]
            similarity = oks_matrix(
                points_a, points_b, area, a.info.skeleton, counted_a=counted[one]
            )
            similarities.append(float(similarity[0, 0]))
        if len(outputs) == 3:
            difference = np.abs(output_a[2] - output_b[2])
            squared_sum += float((difference**2).sum())
            map_max = max(map_max, float(difference.max()))
            cells += difference.size
    distance_px = np.concatenate(distances) if distances else np.zeros(0)
    if len(distance_px) == 0:
        raise ValueError(
            f"of {len(crops)} people no joint scores over {min_score:g} in both models: nothing to "
            "compare (no people in these images? a lower threshold?)"
        )
    score_difference = np.concatenate(score_differences)
    return PredictionDrift(
        people=len(crops),
        joints=len(distance_px),
        mean_px=float(distance_px.mean()),
        p95_px=float(np.percentile(distance_px, 95)),
        max_px=float(distance_px.max()),
        score_mean=float(score_difference.mean()),
        score_max=float(score_difference.max()),
        oks_mean=float(np.mean(similarities)),
        oks_min=float(np.min(similarities)),
        map_rms=float(np.sqrt(squared_sum / cells)) if cells else None,
        map_max=map_max if cells else None,
    )


def exceeded_limits(
    drift: PredictionDrift, *, max_px: float | None, max_p95_px: float | None
) -> Sequence[str]:
    """Return a sentence for each limit that the drift exceeds; NaN exceeds any limit."""
    limits = (
        ("the largest distance", drift.max_px, max_px),
        ("the 95th percentile", drift.p95_px, max_p95_px),
    )
    return [
        f"{what} is {value:.3f} px; at most {limit:g} is allowed"
        for what, value, limit in limits
        if limit is not None and not value <= limit
    ]
