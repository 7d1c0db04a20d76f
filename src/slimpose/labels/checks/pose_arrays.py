"""The labeled instances of a file as arrays, and the distances that are usual between joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from slimpose.formats.coco import CocoFile, CocoPerson

_PARTNERS = 12
"""Pairs of each joint that are measured: the nearest ones constrain it most."""
_MIN_PAIRS = 3
_MIN_INSTANCES = 20
"""Of pairs with fewer instances no usual distance is known."""


@dataclass(frozen=True)
class PoseArrays:
    """The n instances with labeled joints, without crowds.

    Attributes:
        people: The instances.
        points: (n, joints, 2) in image pixels; 0 where not labeled.
        visibility: (n, joints): 0 absent, 1 hidden, 2 visible.
        boxes: (n, 4) x1, y1, x2, y2.
    """

    people: tuple[CocoPerson, ...]
    points: Float64[np.ndarray, "n joints 2"]
    visibility: Float64[np.ndarray, "n joints"]
    boxes: Float64[np.ndarray, "n 4"]

    @classmethod
    def of(cls, file: CocoFile) -> PoseArrays:
        """Return the labeled instances of a file."""
        people = tuple(one for one in file.people if one.is_labeled and not one.is_crowd)
        joints = len(file.skeleton.joints)
        keypoints = np.zeros((len(people), joints, 3))
        for row, person in enumerate(people):
            assert person.keypoints is not None
            keypoints[row] = person.keypoints
        labeled = keypoints[..., 2:] > 0
        boxes = np.array([person.box_image for person in people], np.float64).reshape(-1, 4)
        return cls(people, keypoints[..., :2] * labeled, keypoints[..., 2], boxes)

    @property
    def labeled(self) -> Bool[np.ndarray, "n joints"]:
        """Which joints are labeled."""
        return self.visibility > 0

    @cached_property
    def sizes_px(self) -> Float64[np.ndarray, " n"]:
        """Each instance's size: the square root of the area of its box, at least 1."""
        extent = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1)
        return np.sqrt(extent.prod(axis=1))

    @cached_property
    def normalized(self) -> Float64[np.ndarray, "n joints 2"]:
        """The points about their mean, with a root mean square of 1; 0 where not labeled."""
        weight = self.labeled[..., None]
        count = np.maximum(weight.sum(axis=1, keepdims=True), 1)
        centered = (
            self.points - (self.points * weight).sum(axis=1, keepdims=True) / count
        ) * weight
        spread = np.sqrt((centered**2).sum(axis=(1, 2), keepdims=True) / count)
        return centered / np.maximum(spread, 1e-9)


@dataclass(frozen=True)
class PairDistances:
    """Distances between joints, and how unusual each is.

    Attributes:
        pairs: (p, 2) joints.
        excess: (n, p) how much longer a distance is than usual at the instance's size, in
            deviations of the upper half of its distribution; -inf where unknown.
        scales_px: (n,) the instances' sizes by the median of their distances; 0 if unknown.
        usual: (p,) the usual distance of each pair at size 1; nan if unknown.
    """

    pairs: Int64[np.ndarray, "p 2"]
    excess: Float64[np.ndarray, "n p"]
    scales_px: Float64[np.ndarray, " n"]
    usual: Float64[np.ndarray, " p"]


def pair_distances(poses: PoseArrays) -> PairDistances:
    """Measure the distances of all instances, and what is usual, robustly against wrong labels.

    An instance's size is the median of its distances, each relative to the pair's median: one
    wrong joint does not change it. Distances are projected, so they vary downwards by far; only
    the upper half of their distribution shows how long a limb can be.
    """
    pairs = _nearest_pairs(poses)
    a, b = pairs.T
    known = poses.labeled[:, a] & poses.labeled[:, b]
    distances = np.linalg.norm(poses.points[:, a] - poses.points[:, b], axis=2)
    distances = np.where(known, np.maximum(distances, 1e-6), np.nan)
    enough = known.sum(axis=0) >= _MIN_INSTANCES
    usual = np.full(len(pairs), np.nan)
    scales = poses.sizes_px.copy()
    for _ in range(3):
        relative = distances / np.maximum(scales, 1e-9)[:, None]
        usual[enough] = _nan_quantile(relative[:, enough], 0.5)
        counted = known & np.isfinite(usual)
        ratios = np.where(counted, distances / usual, np.nan)
        has_scale = counted.sum(axis=1) >= _MIN_PAIRS
        scales = np.zeros(len(distances))
        if has_scale.any():
            scales[has_scale] = np.nanmedian(ratios[has_scale], axis=1)
    excess = np.full(distances.shape, -np.inf)
    rows = scales > 0
    if rows.any() and enough.any():
        logs = np.log(distances[rows][:, enough] / (scales[rows, None] * usual[enough]))
        middle, high = _nan_quantile(logs, 0.5), _nan_quantile(logs, 0.95)
        spread = np.maximum((high - middle) / 1.645, 0.03)
        part = (logs - middle) / spread
        excess[np.ix_(rows, enough)] = np.where(np.isfinite(part), part, -np.inf)
    return PairDistances(pairs, excess, scales, usual)


def _nearest_pairs(poses: PoseArrays) -> Int64[np.ndarray, "p 2"]:
    """For each joint the pairs with the joints that are usually nearest to it."""
    joints = poses.points.shape[1]
    rows = np.linspace(0, len(poses.people) - 1, min(len(poses.people), 2000)).astype(int)
    sample, labeled = poses.normalized[rows], poses.labeled[rows]
    chosen: set[tuple[int, int]] = set()
    for joint in range(joints):
        distances = np.linalg.norm(sample - sample[:, joint : joint + 1], axis=2)
        distances[~(labeled & labeled[:, joint : joint + 1])] = np.nan
        counts = np.isfinite(distances).sum(axis=0)
        middle = np.full(joints, np.inf)
        if counts.any():
            middle[counts > 0] = np.nanmedian(distances[:, counts > 0], axis=0)
        middle[joint] = np.inf
        for other in np.argsort(middle, kind="stable")[:_PARTNERS]:
            if np.isfinite(middle[other]):
                chosen.add((min(joint, int(other)), max(joint, int(other))))
    return np.array(sorted(chosen), np.int64).reshape(-1, 2)


def _nan_quantile(values: np.ndarray, share: float) -> np.ndarray:
    return np.nanquantile(values, share, axis=0)


def by_image(people: Sequence[CocoPerson]) -> dict[int, list[int]]:
    """Return the rows of the instances of each image."""
    rows: dict[int, list[int]] = {}
    for row, person in enumerate(people):
        rows.setdefault(person.image_id, []).append(row)
    return rows
