"""How often each joint, size and kind of pose occurs in a file."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from slimpose.labels.checks.pose_arrays import PoseArrays
from slimpose.skeleton import Skeleton

_CLUSTERS = 8
_SIZES_PX = (32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseGroup:
    """A kind of pose: the share of instances, and the annotation id of the most typical one."""

    share: float
    annotation_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a file has much and little of.

    Attributes:
        instances: Number of labeled instances.
        joints: Per joint its name, labels, and the share of them that is hidden.
        sizes: Instances by the square root of their box's area: a text for the range, the number.
        poses: Kinds of pose, the most frequent first.
    """

    instances: int
    joints: tuple[tuple[str, int, float], ...]
    sizes: tuple[tuple[str, int], ...]
    poses: tuple[PoseGroup, ...]


def pose_balance(poses: PoseArrays, skeleton: Skeleton) -> Balance:
    """Count joints, sizes and kinds of pose."""
    labels = poses.labeled.sum(axis=0)
    hidden = (poses.visibility == 1).sum(axis=0) / np.maximum(labels, 1)
    edges = (0, *_SIZES_PX, np.inf)
    sizes = []
    for low, high in itertools.pairwise(edges):
        name = f"{low:g} px and more" if high == np.inf else f"{low:g} to {high:g} px"
        count = int(((poses.sizes_px >= low) & (poses.sizes_px < high)).sum())
        sizes.append((name, count))
    return Balance(
        instances=len(poses.people),
        joints=tuple(
            (name, int(count), float(share))
            for name, count, share in zip(skeleton.joints, labels, hidden, strict=True)
        ),
        sizes=tuple(sizes),
        poses=_groups(poses),
    )


def _groups(poses: PoseArrays) -> tuple[PoseGroup, ...]:
    """Kinds of pose by k-means of the normalized joints, missing ones at their mean."""
    n = len(poses.people)
    if n < 2 * _CLUSTERS:
        return ()
    labeled = poses.labeled[..., None]
    mean = (poses.normalized * labeled).sum(axis=0) / np.maximum(labeled.sum(axis=0), 1)
    rows = np.where(labeled, poses.normalized, mean).reshape(n, -1).astype(np.float32)
    generator = np.random.default_rng(0)
    centers = rows[[int(generator.integers(n))]]
    while len(centers) < _CLUSTERS:  # each new one far from the others (k-means++)
        gaps = ((rows[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
        if gaps.sum() <= 0:
            break
        centers = np.concatenate([centers, rows[[generator.choice(n, p=gaps / gaps.sum())]]])
    for _ in range(15):
        gaps = _squared_distances(rows, centers)
        nearest = gaps.argmin(axis=1)
        for number in range(len(centers)):
            if (nearest == number).any():
                centers[number] = rows[nearest == number].mean(axis=0)
    gaps = _squared_distances(rows, centers)
    nearest = gaps.argmin(axis=1)
    groups = [
        PoseGroup(
            share=float((nearest == number).mean()),
            annotation_id=poses.people[int(gaps[:, number].argmin())].id,
        )
        for number in range(len(centers))
        if (nearest == number).any()
    ]
    return tuple(sorted(groups, key=lambda one: -one.share))


def _squared_distances(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    products = rows @ centers.T
    return (rows**2).sum(axis=1)[:, None] - 2 * products + (centers**2).sum(axis=1)
