"""What the labels of a skeleton show about it: sigmas, limbs, and whether its mirror pairs fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

Points = Float64[np.ndarray, "n joints 2"]
Distances = Float64[np.ndarray, "joints joints"]
JointValues = Float64[np.ndarray, " joints"]

SIGMA_RANGE = 0.025, 0.079
"""Least and largest sigma that labels lead to: those of COCO's eyes and shoulders."""
SIGMA_PER_DISTANCE = 0.27
"""Sigma per distance to the nearest joint.

For 5,958 of COCO's people it gives COCO's own sigmas within a factor of 1.12 on average (1.5 at
most); from 100 of them within 1.19 (docs/skeletons.md).
"""
_SIGMAS_PER_RESIDUAL = 2.0
"""Largest sigma in standard deviations of a joint about where its neighbors predict it."""
_NEIGHBORS = 4
_MIN_LABELS = 5
"""Fewer labels of a joint, or of two together, show nothing."""
MIN_REPEATED = 20
"""Labels of a joint by two people from which its sigma is taken."""
_ASYMMETRY = 0.2
"""Asymmetry from which two mirror partners are doubtful; those of 100 of COCO's people have 0.02 to
0.06, of other two joints up to 0.7."""
_NAN_FILL = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledPoints:
    """Labels of n instances: points in pixels, which joints are labeled, areas in square pixels."""

    points: Points
    labeled: Bool[np.ndarray, "n joints"]
    areas: Float64[np.ndarray, " n"]

    @property
    def scaled(self) -> Points:
        """Points in units of the square root of the area."""
        return self.points / np.sqrt(self.areas)[:, None, None]


def joint_distances(labels: LabeledPoints, *, quantile: float = 0.5) -> Distances:
    """Return the median distance of every two joints in square roots of the area.

    With another ``quantile`` that one of the distances. It is infinite where fewer than five
    instances have both, and on the diagonal.
    """
    joints = labels.labeled.shape[1]
    distances = np.full((joints, joints), np.inf)
    points = labels.scaled
    for a in range(joints):
        for b in range(a):
            both = labels.labeled[:, a] & labels.labeled[:, b]
            if both.sum() >= _MIN_LABELS:
                apart = np.linalg.norm(points[both, a] - points[both, b], axis=1)
                distances[a, b] = distances[b, a] = np.quantile(apart, quantile)
    return distances


def sigmas_from_labels(labels: LabeledPoints, partners: Int64[np.ndarray, " joints"]) -> np.ndarray:
    """Return the sigma of every joint (joints,), nan where too few labels show it.

    It is 0.27 of the median distance to the nearest joint: people label what is small and
    close together more precisely. Where the other joints predict a joint more precisely than that
    (rigid objects), it is twice the standard deviation about the prediction, a robust linear
    regression on the nearest joints. Both are limited to the range of COCO's sigmas; mirror
    partners share the mean.
    """
    distances = joint_distances(labels)
    nearest = distances.min(axis=1)
    sigmas = SIGMA_PER_DISTANCE * np.where(np.isfinite(nearest), nearest, np.nan)
    for joint in map(int, np.flatnonzero(np.isfinite(nearest))):
        sigmas[joint] = min(
            sigmas[joint], _SIGMAS_PER_RESIDUAL * _residual(labels, distances, joint)
        )
    sigmas = np.clip(sigmas, *SIGMA_RANGE)
    pairs = np.stack([sigmas, sigmas[partners]])
    known = np.isfinite(pairs)
    total = np.where(known, pairs, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _residual(labels: LabeledPoints, distances: Distances, joint: int) -> float:
    """Median deviation of a joint from its prediction, as a standard deviation of the distance.

    The prediction is a weighted mean of the nearest joints, by least squares with the weights of
    Cauchy's loss; infinite with too few labels.
    """
    near = np.argsort(distances[joint], kind="stable")[:_NEIGHBORS]
    near = near[np.isfinite(distances[joint][near])]
    rows = labels.labeled[:, joint] & labels.labeled[:, near].all(axis=1)
    if rows.sum() < max(_MIN_LABELS, 3 * len(near)) or len(near) < 2:
        return np.inf
    points = labels.scaled[rows]
    origin = points[:, near[0]]
    wanted = (points[:, joint] - origin).ravel()
    others = (points[:, near[1:]] - origin[:, None]).transpose(0, 2, 1).reshape(len(wanted), -1)
    weights = np.ones(len(wanted))
    ridge = 1e-6 * len(wanted) * np.eye(others.shape[1])
    deviations = np.zeros(len(points))
    for _ in range(8):
        weighted = weights[:, None] * others
        factors = np.linalg.solve(weighted.T @ others + ridge, weighted.T @ wanted)
        deviations = np.linalg.norm((wanted - others @ factors).reshape(-1, 2), axis=1)
        scale = 2 * np.median(deviations) + 1e-9
        weights = np.repeat(1 / (1 + (deviations / scale) ** 2), 2)
    return _from_median(deviations)


def _from_median(distances: np.ndarray) -> float:
    """The root mean square of distances in two dimensions (Rayleigh) from their median."""
    return float(np.median(distances) / np.sqrt(np.log(2)))


def sigmas_from_repeats(first: LabeledPoints, second: LabeledPoints) -> np.ndarray:
    """Return the sigma of every joint (joints,) from labels of the same instances by two people.

    It is the standard deviation of one label's distance from the true position, in square roots of
    the area, as COCO's are; nan for joints with fewer than MIN_REPEATED pairs of labels.

    Source:
        cocodataset.org, keypoint evaluation, section 1.2: sigma^2 = E[d^2 / s^2].
    """
    apart = np.linalg.norm(first.points - second.points, axis=2) / np.sqrt(first.areas)[:, None]
    both = first.labeled & second.labeled
    return np.array([
        _from_median(apart[rows, joint]) / np.sqrt(2) if rows.sum() >= MIN_REPEATED else np.nan
        for joint, rows in enumerate(both.T)
    ])  # fmt: skip


def shortest_limbs(distances: Distances) -> tuple[tuple[int, int], ...]:
    """Return the pairs of joints that connect all of them with the shortest limbs (spanning tree).

    With distances of a high quantile two joints that are only sometimes close, such as a wrist and
    a hip, are no limb. Joints that are never labeled with another one stay alone.
    """
    joints = len(distances)
    connected, limbs = {0}, []
    while len(connected) < joints:
        edges = [
            (distances[a, b], a, b)
            for a in connected
            for b in range(joints)
            if b not in connected and np.isfinite(distances[a, b])
        ]
        if edges:
            _, a, b = min(edges)
            limbs.append((a, b))
        else:
            b = next(joint for joint in range(joints) if joint not in connected)
        connected.add(b)
    return tuple(limbs)


def asymmetry(distances: Distances, a: int, b: int) -> float:
    """Return how much the distances of a and of b to all other joints differ, 0 for mirror images.

    It is the mean difference of their sorted logarithms: which joint each distance belongs to does
    not matter, so that other pairs may be wrong. 0 with too few labels.
    """
    others = [joint for joint in range(len(distances)) if joint not in (a, b)]
    logs = np.log(np.clip(distances[np.ix_((a, b), others)], 1e-3, _NAN_FILL))
    logs = logs[:, (logs < np.log(_NAN_FILL)).all(axis=0)]
    if logs.shape[1] < 2:
        return 0.0
    first, second = np.sort(logs, axis=1)
    return float(np.abs(first - second).mean())


def doubtful_pairs(
    distances: Distances, partners: Int64[np.ndarray, " joints"]
) -> list[tuple[int, int]]:
    """Return the mirror pairs whose joints have clearly different distances to all others."""
    return [
        (a, int(b))
        for a, b in enumerate(partners)
        if a < b and asymmetry(distances, a, int(b)) > _ASYMMETRY
    ]
