"""Bottom-up estimation: groups all joints of an image into people by part affinity fields.

A limb's affinity field is a map of vectors: unit length along the limb where one runs, zero
elsewhere. Two joints belong to one person if the field points from one to the other all the way
between them.

Source:
    Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017,
    section 2.3; the thresholds are those of Osokin, "Lightweight OpenPose", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int64

from slimpose import geometry
from slimpose.arrays import Image, PersonScores, Points, Scores
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.session import Model
from slimpose.skeleton import COCO17, Skeleton

JointMaps = Float32[np.ndarray, "joints map_height map_width"]
LimbMaps = Float32[np.ndarray, "limb_axes map_height map_width"]
"""x, then y of each limb's vectors, in the order of the skeleton's limbs."""

UPSAMPLING = 4
SAMPLES = 10
MIN_PEAK = 0.1
MIN_AFFINITY = 0.05
MIN_SAMPLE_SHARE = 0.8
"""Share of a limb's samples that must reach the minimum affinity."""
MIN_JOINTS = 3
MIN_PERSON_SCORE = 0.2
"""Sum of joint scores and limb affinities, divided by the number of joints found."""
_PEAK_RADIUS = 5
"""In upsampled cells: of two peaks closer than this, the lower one is discarded."""
_MAX_PEAKS = 100
"""Per joint: more are noise, and the number of pairs grows with their square."""


class BottomUpEstimator:
    """Finds the people of a whole image: no detector and no crops.

    The model gives heatmaps and affinities, which are grouped here.

    Raises:
        ValueError: If the model is of another task, or lacks one of COCO's joints.
    """

    def __init__(self, model: Model) -> None:
        if model.info.task != "bottom-up":
            raise ValueError(
                f"{model.info.name} is a {model.info.task} model; expected one for whole images"
            )
        joints = model.info.skeleton.joints
        missing = [joint for joint in COCO17.joints if joint not in joints]
        if missing:
            raise ValueError(
                f"{model.info.name} has no {', '.join(missing)}; expected all of COCO's joints"
            )
        self._model = model
        self._order = [joints.index(joint) for joint in COCO17.joints]

    def __call__(self, image: Image) -> Poses:
        """Return the people of an RGB uint8 image with COCO's joints, best first.

        Joints that were not found score 0. Boxes are those of the joints found; a covariance is
        that of a point anywhere in a heatmap cell.
        """
        info = self._model.info
        canvas, affine = fit_canvas(image, info.size)
        people = self._people(canvas)
        if len(people.scores) == 0:
            return Poses.empty(COCO17)
        to_image = np.repeat(geometry.invert_affines(affine), len(people.scores), axis=0)
        points = geometry.transform_points(to_image, people.points_image)[:, self._order]
        scores = people.scores[:, self._order]
        is_found = (scores > 0)[..., None]
        low = np.where(is_found, points, np.inf).min(axis=1)
        high = np.where(is_found, points, -np.inf).max(axis=1)
        kept = np.isfinite(low).all(axis=1)  # a person of a neck alone has none of COCO's joints
        cell = np.eye(2, dtype=np.float32) * (info.stride * to_image[0, 0, 0]) ** 2 / 12
        return Poses(
            points_image=np.where(is_found, points, 0)[kept].astype(np.float32),
            scores=scores[kept],
            covariances_image=np.broadcast_to(cell, (*scores[kept].shape, 2, 2)).astype(np.float32),
            boxes_image=np.concatenate([low, high], axis=1)[kept].astype(np.float32),
            person_scores=people.person_scores[kept],
            ids=np.full(int(kept.sum()), NOT_TRACKED, np.int64),
            skeleton=COCO17,
        )

    def _people(self, canvas: Image) -> GroupedPeople:
        info = self._model.info
        heatmaps, affinities = self._model.run(canvas[None], ("heatmaps", "affinities"))
        return group_people(heatmaps[0], affinities[0], info.skeleton, stride=info.stride)


class GroupedPeople(NamedTuple):
    """The n people of one image.

    Attributes:
        points_image: (n, joints, 2) x, y in pixels of the network's input; 0, 0 where a joint was
            not found.
        scores: (n, joints) heatmap values; 0 where a joint was not found.
        person_scores: (n,) sum of joint scores and limb affinities, as a share of its maximum.
    """

    points_image: Points
    scores: Scores
    person_scores: PersonScores


@dataclass(slots=True)
class _Person:
    """A person being assembled: the peak of each joint found, and the score so far."""

    peaks: dict[int, int] = field(default_factory=dict)
    score: float = 0.0


class _Peaks(NamedTuple):
    """One joint's maxima, best first, in upsampled cells."""

    points: Float32[np.ndarray, "peaks 2"]
    scores: Float32[np.ndarray, " peaks"]


def group_people(
    heatmaps: JointMaps, affinities: LimbMaps, skeleton: Skeleton, *, stride: int
) -> GroupedPeople:
    """Return the people of one image, best first.

    Args:
        heatmaps: One per joint, with all people in each, without the background's.
        affinities: Two per limb.
        skeleton: Names the joints and limbs of the maps.
        stride: Input pixels per heatmap cell.

    Raises:
        ValueError: If the numbers of maps are not the skeleton's.
    """
    joints, limbs = len(skeleton.joints), skeleton.limb_indices
    if len(heatmaps) != joints or len(affinities) != 2 * len(limbs):
        raise ValueError(
            f"got {len(heatmaps)} heatmaps and {len(affinities)} affinity maps; {skeleton.name} "
            f"has {joints} joints and {len(limbs)} limbs: expected {joints} and {2 * len(limbs)} "
            "(is the background's heatmap among them?)"
        )
    peaks = [_find_peaks(_upsampled(heatmap)) for heatmap in heatmaps]
    people: list[_Person] = []
    owners: list[dict[int, _Person]] = [{} for _ in range(joints)]
    for limb, (a, b) in enumerate(limbs):
        field_x, field_y = _upsampled(affinities[2 * limb]), _upsampled(affinities[2 * limb + 1])
        for i, j, affinity in _connect(peaks[a].points, peaks[b].points, field_x, field_y):
            _join(people, owners, (a, i), (b, j), peaks, affinity)
    kept = [
        person
        for person in people
        if len(person.peaks) >= MIN_JOINTS and person.score / len(person.peaks) >= MIN_PERSON_SCORE
    ]
    kept.sort(key=lambda person: -person.score)
    points = np.zeros((len(kept), joints, 2), np.float32)
    scores = np.zeros((len(kept), joints), np.float32)
    for row, person in enumerate(kept):
        for joint, peak in person.peaks.items():
            # An upsampled cell's center in cells, then in pixels.
            cell = (peaks[joint].points[peak] + 0.5) / UPSAMPLING - 0.5
            points[row, joint] = cell * stride + (stride - 1) / 2
            scores[row, joint] = peaks[joint].scores[peak]
    overall = np.array([person.score for person in kept], np.float32) / (joints + len(limbs))
    # Cubic upsampling overshoots by some percent.
    return GroupedPeople(points, scores.clip(0, 1), overall.clip(0, 1))


def _upsampled(
    cells: Float32[np.ndarray, "map_height map_width"],
) -> Float32[np.ndarray, "height width"]:
    return cv2.resize(cells, None, fx=UPSAMPLING, fy=UPSAMPLING, interpolation=cv2.INTER_CUBIC)


def _find_peaks(heatmap: Float32[np.ndarray, "height width"]) -> _Peaks:
    window = np.ones((2 * _PEAK_RADIUS + 1, 2 * _PEAK_RADIUS + 1), np.uint8)
    y, x = np.nonzero((heatmap >= cv2.dilate(heatmap, window)) & (heatmap > MIN_PEAK))
    best = np.argsort(-heatmap[y, x], kind="stable")[:_MAX_PEAKS]
    y, x = y[best], x[best]
    return _Peaks(np.stack([x, y], axis=1).astype(np.float32), heatmap[y, x])


def _connect(
    starts: Float32[np.ndarray, "starts 2"],
    ends: Float32[np.ndarray, "ends 2"],
    field_x: Float32[np.ndarray, "height width"],
    field_y: Float32[np.ndarray, "height width"],
) -> list[tuple[int, int, float]]:
    """Return pairs (start, end, affinity), best first, with each peak in at most one pair."""
    if not len(starts) or not len(ends):
        return []
    vectors = ends[None] - starts[:, None]
    lengths = np.linalg.norm(vectors, axis=2)
    along = vectors / np.maximum(lengths, 1e-6)[..., None]
    steps = np.linspace(0, 1, SAMPLES, dtype=np.float32)
    sampled = starts[:, None, None] + steps[:, None] * vectors[:, :, None]
    cells: Int64[np.ndarray, "starts ends samples 2"] = np.rint(sampled).astype(np.int64)
    x, y = cells[..., 0], cells[..., 1]
    agreement = field_x[y, x] * along[..., None, 0] + field_y[y, x] * along[..., None, 1]
    counts = agreement > MIN_AFFINITY
    affinity = (agreement * counts).sum(axis=2) / np.maximum(counts.sum(axis=2), 1)
    possible = (counts.mean(axis=2) >= MIN_SAMPLE_SHARE - 1e-6) & (lengths > 0)
    rows, columns = np.nonzero(possible)
    affinities = affinity[rows, columns]
    used_starts: set[int] = set()
    used_ends: set[int] = set()
    pairs: list[tuple[int, int, float]] = []
    for candidate in np.argsort(-affinities, kind="stable"):
        i, j = int(rows[candidate]), int(columns[candidate])
        if i not in used_starts and j not in used_ends:
            used_starts.add(i)
            used_ends.add(j)
            pairs.append((i, j, float(affinities[candidate])))
    return pairs


def _join(
    people: list[_Person],
    owners: list[dict[int, _Person]],
    start: tuple[int, int],
    end: tuple[int, int],
    peaks: list[_Peaks],
    affinity: float,
) -> None:
    """Merge two connected peaks (joint, peak) into one person, unless a joint would be twice."""
    first, second = (owners[joint].get(peak) for joint, peak in (start, end))
    if first is None or second is None:
        person = first or second
        if person is None:
            person = _Person()
            people.append(person)
        new = [(joint, peak) for joint, peak in (start, end) if peak not in owners[joint]]
        if any(joint in person.peaks for joint, _ in new):
            return
        for joint, peak in new:
            person.peaks[joint] = peak
            person.score += float(peaks[joint].scores[peak])
            owners[joint][peak] = person
        person.score += affinity
    elif first is second:
        first.score += affinity
    elif first.peaks.keys().isdisjoint(second.peaks):
        first.peaks |= second.peaks
        first.score += second.score + affinity
        for joint, peak in second.peaks.items():
            owners[joint][peak] = first
        people[:] = [person for person in people if person is not second]
