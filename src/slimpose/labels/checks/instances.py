"""Geometric checks of labeled instances: joints, boxes, and instances of one image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from slimpose.formats.coco import CocoPerson
from slimpose.labels.checks.findings import Finding, Kind
from slimpose.labels.checks.pose_arrays import PairDistances, PoseArrays, by_image

_LONG = 5.0
"""Excess of a distance that no other instance has, in deviations (``PairDistances.excess``)."""
_FAR_SHARE = 0.6
"""A joint is off the body if it is that far from all others, as a share of the others' extent."""
_SAME_SHARE = 0.1
"""Two labels are of one joint if they are that near to each other, as a share of the size."""
_DUPLICATE_SHARE = 0.7
_CUT_SHARE = 0.15
"""How far a joint may be outside its box, as a share of the box's size."""
_MERGED_JOINTS = 3


def check_joints(poses: PoseArrays, distances: PairDistances) -> list[Finding]:
    """Find joints off the body, and distances that are too long for the instance's size.

    Too many of these in one instance are two instances in one.
    """
    findings: list[Finding] = []
    for row, person in enumerate(poses.people):
        labeled = np.flatnonzero(poses.labeled[row])
        far = _off_body(poses.points[row], labeled, distances, row)
        excess = distances.excess[row].copy()
        for joint in far:
            excess[(distances.pairs == joint).any(axis=1)] = -np.inf
        blamed, worst = _blamed_joints(excess, distances.pairs)
        for joint in far:
            text = "far from all other joints of the instance"
            findings.append(_finding("off body", person, text, (joint,), 0.99))
        if len(blamed) >= _MERGED_JOINTS or len(far) >= _MERGED_JOINTS:
            text = f"{max(len(blamed), len(far))} joints do not fit the others: of two instances?"
            findings.append(_finding("merged or split", person, text, tuple(blamed), 0.9))
        elif blamed:
            text = f"distances {worst:.1f} deviations above the usual"
            suspicion = 1 - _LONG / max(worst, _LONG) * 0.5
            findings.append(_finding("limb length", person, text, tuple(blamed), suspicion))
    return findings


def _off_body(
    points: np.ndarray, labeled: np.ndarray, distances: PairDistances, row: int
) -> list[int]:
    """Joints that are far from every other joint, relative to the extent of the others."""
    if len(labeled) < 3:
        return []
    found = []
    for joint in labeled:
        others = points[labeled[labeled != joint]]
        nearest = float(np.linalg.norm(others - points[joint], axis=1).min())
        extent = float(np.linalg.norm(np.ptp(others, axis=0)))
        pairs = (distances.pairs == joint).any(axis=1)
        excess = distances.excess[row, pairs]
        excess = excess[np.isfinite(excess)]
        is_unusual = not len(excess) or float(np.median(excess)) > 3
        if nearest > _FAR_SHARE * extent > 0 and is_unusual:
            found.append(int(joint))
    return found if len(found) < len(labeled) else []


def _blamed_joints(excess: Float64[np.ndarray, " p"], pairs: np.ndarray) -> tuple[list[int], float]:
    """The fewest joints that all too long distances have in common, and the largest excess."""
    long = excess > _LONG
    if not long.any():
        return [], 0.0
    worst = float(excess[long].max())
    blamed: list[int] = []
    while long.any():
        weight = np.zeros(int(pairs.max()) + 1)
        for end in (0, 1):
            np.add.at(weight, pairs[long, end], excess[long])
        joint = int(weight.argmax())
        blamed.append(joint)
        long &= ~(pairs == joint).any(axis=1)
    return blamed, worst


def check_boxes(poses: PoseArrays, off_body: dict[int, set[int]]) -> list[Finding]:
    """Find visible joints clearly outside their boxes; hidden ones may be, as in COCO.

    Args:
        poses: The instances.
        off_body: By annotation id the joints that are off the body: not the box's fault.
    """
    findings = []
    extent = poses.boxes[:, 2:] - poses.boxes[:, :2]
    margin = _CUT_SHARE * np.sqrt(np.maximum(extent.prod(axis=1), 1))[:, None, None]
    low, high = poses.boxes[:, None, :2] - margin, poses.boxes[:, None, 2:] + margin
    outside = (poses.visibility == 2) & ((poses.points < low) | (poses.points > high)).any(axis=2)
    for row in np.flatnonzero(outside.any(axis=1)):
        person = poses.people[row]
        joints = set(np.flatnonzero(outside[row]).tolist()) - off_body.get(person.id, set())
        if joints:
            text = f"{len(joints)} visible joints are outside the box"
            share = len(joints) / max(1, int(poses.labeled[row].sum()))
            findings.append(
                _finding("box cuts joints", person, text, tuple(sorted(joints)), 0.5 + 0.5 * share)
            )
    return findings


def check_pairs(poses: PoseArrays, distances: PairDistances) -> list[Finding]:
    """Find instances of one image that are one (duplicates, split), or share joints (merged)."""
    findings: list[Finding] = []
    for rows in by_image(poses.people).values():
        for index, first in enumerate(rows):
            for second in rows[index + 1 :]:
                if _is_near(poses, first, second):
                    findings += _compare(poses, distances, first, second)
    return findings


def _is_near(poses: PoseArrays, first: int, second: int) -> bool:
    """Whether two boxes overlap, or nearly."""
    gap = 0.1 * min(poses.sizes_px[first], poses.sizes_px[second])
    one, other = poses.boxes[first], poses.boxes[second]
    return bool((np.maximum(one[:2], other[:2]) - np.minimum(one[2:], other[2:]) < gap).all())


def _compare(
    poses: PoseArrays, distances: PairDistances, first: int, second: int
) -> Iterator[Finding]:
    one, other = poses.people[first], poses.people[second]
    common = poses.labeled[first] & poses.labeled[second]
    size = max(1.0, min(_size(poses, first), _size(poses, second)))
    apart = np.linalg.norm(poses.points[first] - poses.points[second], axis=1)
    same = common & (apart < _SAME_SHARE * size)
    fewest = min(int(poses.labeled[first].sum()), int(poses.labeled[second].sum()))
    if (
        same.sum() >= 2
        and same.sum() >= _DUPLICATE_SHARE * common.sum()
        and (common.sum() >= 0.5 * fewest)
    ):
        text = f"{int(same.sum())} of {int(common.sum())} joints are where annotation {one.id} "
        text += "has them"
        yield _finding("duplicate", other, text, (), 0.5 + 0.5 * float(same.sum() / common.sum()))
    elif same.sum() >= _MERGED_JOINTS:
        text = f"{int(same.sum())} of {int(common.sum())} joints are where annotation {{}} has them"
        joints = tuple(np.flatnonzero(same).tolist())
        yield _finding("merged or split", other, text.format(one.id), joints, 0.85)
        yield _finding("merged or split", one, text.format(other.id), joints, 0.85)
    elif not common.any() and _fit_together(poses, distances, first, second):
        text = "and annotation {} have different joints that fit together: one instance in two?"
        yield _finding("merged or split", other, text.format(one.id), (), 0.8)
        yield _finding("merged or split", one, text.format(other.id), (), 0.8)


def _size(poses: PoseArrays, row: int) -> float:
    """The smaller of the sizes by the joints' extent and by the box: either may be wrong."""
    points = poses.points[row, poses.labeled[row]]
    extent = float(np.linalg.norm(np.ptp(points, axis=0)))
    return min(extent, float(poses.sizes_px[row])) if extent > 0 else float(poses.sizes_px[row])


def _fit_together(poses: PoseArrays, distances: PairDistances, first: int, second: int) -> bool:
    """Whether two instances with different joints have the usual distances to each other."""
    labels = poses.labeled[first], poses.labeled[second]
    if min(one.sum() for one in labels) < 2:
        return False
    a, b = distances.pairs.T
    across = (labels[0][a] & labels[1][b]) | (labels[1][a] & labels[0][b])
    across &= np.isfinite(distances.usual)
    scales = distances.scales_px[[first, second]]
    if across.sum() < 3 or (scales <= 0).any() or scales.max() > 1.6 * scales.min():
        return False
    points = np.where(labels[0][:, None], poses.points[first], poses.points[second])
    lengths = np.linalg.norm(points[a] - points[b], axis=1)[across]
    relative = lengths / (np.sqrt(scales.prod()) * distances.usual[across])
    return bool(np.median(relative) < 1.4 and np.median(relative) > 0.5 and relative.max() < 2.5)


def _finding(
    kind: Kind, person: CocoPerson, text: str, joints: tuple[int, ...], suspicion: float
) -> Finding:
    return Finding(
        kind=kind,
        text=text,
        image_id=person.image_id,
        annotation_id=person.id,
        joints=joints,
        suspicion=suspicion,
    )
