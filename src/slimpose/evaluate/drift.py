"""How far apart the answers of two pose models are on the same crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Crops, PersonScores
from slimpose.oks import oks_matrix
from slimpose.runtime.session import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionDrift:
    """The differences; distances in crop pixels.

    Attributes:
        people: Crops compared.
        joints: Joints that score over the threshold in both models; points and OKS are about these.
        mean_px: Mean distance of the two points.
        p95_px: Distance that 95 of 100 joints keep to.
        max_px: Largest distance; tens of pixels where a model takes another peak for the joint.
        score_mean: Mean difference of the scores of all joints.
        score_max: Largest.
        oks_mean: Mean similarity of a person's two poses (1 is the same).
        oks_min: Smallest.
        map_rms: Root of the mean squared difference of the heatmaps; None if a model does not give
            them.
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
    """Return the drift of b's answers from a's.

    Args:
        a: The reference.
        b: The model compared with it, of the same input size and joints.
        crops: uint8 (n, H, W, 3).
        areas_crop: (n,) area of each person's box in square crop pixels: the size that OKS is
            measured in.
        min_score: Joints scored lower in either model do not count.
        batch: Crops a call.

    Raises:
        ValueError: If the models are not comparable, or no joint counts.
    """
    if a.info.size != b.info.size or a.info.skeleton.joints != b.info.skeleton.joints:
        raise ValueError(
            f"{a.info.name} takes {a.info.size} crops and gives {len(a.info.skeleton.joints)} joints, {b.info.name} "
            f"{b.info.size} and {len(b.info.skeleton.joints)}; expected the same size and joints in both"
        )
    outputs = ["points", "scores"]
    if "heatmaps" in a.outputs and "heatmaps" in b.outputs:
        outputs.append("heatmaps")
    distances, score_gaps, similarities = [], [], []
    squared, largest, cells = 0.0, 0.0, 0
    for start in range(0, len(crops), batch_size):
        rows = slice(start, start + batch_size)
        mine, theirs = a.run(crops[rows], outputs), b.run(crops[rows], outputs)
        counted = (mine[1] > min_score) & (theirs[1] > min_score)
        distances.append(np.linalg.norm(mine[0] - theirs[0], axis=2)[counted])
        score_gaps.append(np.abs(mine[1] - theirs[1]).ravel())
        for row in np.flatnonzero(counted.any(axis=1)):
            one = slice(row, row + 1)
            area = areas_crop[rows][one]
            similarity = oks_matrix(
                mine[0][one], theirs[0][one], area, a.info.skeleton, counted_a=counted[one]
            )
            similarities.append(float(similarity[0, 0]))
        if len(outputs) == 3:
            gap = np.abs(mine[2] - theirs[2])
            squared, largest, cells = (
                squared + float((gap**2).sum()),
                max(largest, float(gap.max())),
                cells + gap.size,
            )
    every = np.concatenate(distances) if distances else np.zeros(0)
    if len(every) == 0:
        raise ValueError(
            f"of {len(crops)} people no joint scores over {min_score:g} in both models: nothing to compare "
            "(no people in these pictures? a lower threshold?)"
        )
    gaps = np.concatenate(score_gaps)
    return PredictionDrift(
        people=len(crops),
        joints=len(every),
        mean_px=float(every.mean()),
        p95_px=float(np.percentile(every, 95)),
        max_px=float(every.max()),
        score_mean=float(gaps.mean()),
        score_max=float(gaps.max()),
        oks_mean=float(np.mean(similarities)),
        oks_min=float(np.min(similarities)),
        map_rms=float(np.sqrt(squared / cells)) if cells else None,
        map_max=largest if cells else None,
    )


def exceeded_limits(
    drift: PredictionDrift, *, max_px: float | None, max_p95_px: float | None
) -> Sequence[str]:
    """Return a sentence for each limit that the drift is over; NaN is over any."""
    limits = (
        ("the largest distance", drift.max_px, max_px),
        ("the 95th percentile", drift.p95_px, max_p95_px),
    )
    return [
        f"{what} is {value:.3f} px; at most {limit:g} is allowed"
        for what, value, limit in limits
        if limit is not None and not value <= limit
    ]
