"""Bottom-up: people out of all joints of an image and the affinities between them, in NumPy.

A limb's affinity is a map of vectors: unit length along the limb where somebody's limb runs, zero
elsewhere. Two joints belong together if the map points from one to the other all the way between
them.

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

from slimpose.arrays import PersonScores, Points, Scores
from slimpose.skeleton import Skeleton

JointMaps = Float32[np.ndarray, "joints map_height map_width"]
LimbMaps = Float32[np.ndarray, "limb_axes map_height map_width"]
"""x, then y of each limb's vectors, in the order of the skeleton's limbs."""

UPSAMPLING = 4
SAMPLES = 10
MIN_PEAK = 0.1
MIN_AFFINITY = 0.05
MIN_SAMPLE_SHARE = 0.8
"""Of a limb's samples, so many must reach the least affinity."""
MIN_JOINTS = 3
MIN_PERSON_SCORE = 0.2
"""Scores of joints and affinities of limbs, over the joints found."""
_PEAK_RADIUS = 5
"""In upsampled cells: of two peaks nearer than this, the lower is none."""
_MOST_PEAKS = 100
"""A joint: more are noise, and the pairs grow with their square."""



class GroupedPeople(NamedTuple):
    """The n people of one image.

    Attributes:
        points_image: (n, joints, 2) x, y in pixels of the net's input; 0, 0 where a joint was not
            found.
        scores: (n, joints) the heatmap's value; 0 where a joint was not found.
        person_scores: (n,) their sum and that of the limbs' affinities, as a share of the most
            there can be.
    """

    points_image: Points
    scores: Scores
    person_scores: PersonScores


@dataclass(slots=True)
class _Person:
    """Peaks by joint, and the score so far."""

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
        heatmaps: One a joint, without the background's; all people in each.
        affinities: Two a limb.
        skeleton: Names both.
        stride: Input pixels a cell.

    Raises:
        ValueError: If the maps are not the skeleton's.
    """
    joints, limbs = len(skeleton.joints), skeleton.limb_indices
    if len(heatmaps) != joints or len(affinities) != 2 * len(limbs):
        raise ValueError(
            f"got {len(heatmaps)} heatmaps and {len(affinities)} affinity maps; {skeleton.name} has {joints} joints "
            f"and {len(limbs)} limbs: expected {joints} and {2 * len(limbs)} (is the background's heatmap among them?)"
        )
    peaks = [_find_peaks(_enlarged(heatmap)) for heatmap in heatmaps]
    people: list[_Person] = []
    owners: list[dict[int, _Person]] = [{} for _ in range(joints)]
    for limb, (a, b) in enumerate(limbs):
        field_x, field_y = _enlarged(affinities[2 * limb]), _enlarged(affinities[2 * limb + 1])
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
    return GroupedPeople(
        points, scores.clip(0, 1), overall.clip(0, 1)
    )  # enlarged maps overshoot by some percent


def _enlarged(
    cells: Float32[np.ndarray, "map_height map_width"],
) -> Float32[np.ndarray, "height width"]:
    return cv2.resize(cells, None, fx=UPSAMPLING, fy=UPSAMPLING, interpolation=cv2.INTER_CUBIC)


def _find_peaks(heatmap: Float32[np.ndarray, "height width"]) -> _Peaks:
    around = np.ones((2 * _PEAK_RADIUS + 1, 2 * _PEAK_RADIUS + 1), np.uint8)
    y, x = np.nonzero((heatmap >= cv2.dilate(heatmap, around)) & (heatmap > MIN_PEAK))
    best = np.argsort(-heatmap[y, x], kind="stable")[:_MOST_PEAKS]
    y, x = y[best], x[best]
    return _Peaks(np.stack([x, y], axis=1).astype(np.float32), heatmap[y, x])


def _connect(
    starts: Float32[np.ndarray, "starts 2"],
    ends: Float32[np.ndarray, "ends 2"],
    field_x: Float32[np.ndarray, "height width"],
    field_y: Float32[np.ndarray, "height width"],
) -> list[tuple[int, int, float]]:
    """Return pairs (start, end, affinity), the best first, each peak in one at most."""
    if not len(starts) or not len(ends):
        return []
    vectors = ends[None] - starts[:, None]
    lengths = np.linalg.norm(vectors, axis=2)
    along = vectors / np.maximum(lengths, 1e-6)[..., None]
    steps = np.linspace(0, 1, SAMPLES, dtype=np.float32)
    sampled = (
        starts[:, None, None] + steps[:, None] * vectors[:, :, None]
    )  # (starts, ends, samples, 2)
    cells: Int64[np.ndarray, "starts ends samples 2"] = np.rint(sampled).astype(np.int64)
    x, y = cells[..., 0], cells[..., 1]
    agreement = field_x[y, x] * along[..., None, 0] + field_y[y, x] * along[..., None, 1]
    counts = agreement > MIN_AFFINITY
    affinity = (agreement * counts).sum(axis=2) / np.maximum(counts.sum(axis=2), 1)
    possible = (counts.mean(axis=2) >= MIN_SAMPLE_SHARE - 1e-6) & (lengths > 0)
    starts_of, ends_of = np.nonzero(possible)
    found = affinity[starts_of, ends_of]
    taken_starts: set[int] = set()
    taken_ends: set[int] = set()
    pairs: list[tuple[int, int, float]] = []
    for place in np.argsort(-found, kind="stable"):
        i, j = int(starts_of[place]), int(ends_of[place])
        if i not in taken_starts and j not in taken_ends:
            taken_starts.add(i)
            taken_ends.add(j)
            pairs.append((i, j, float(found[place])))
    return pairs


def _join(
    people: list[_Person],
    owners: list[dict[int, _Person]],
    start: tuple[int, int],
    end: tuple[int, int],
    peaks: list[_Peaks],
    affinity: float,
) -> None:
    """Put two connected joints (joint, peak) into one person, unless that gives somebody a joint twice."""
    mine, theirs = (owners[joint].get(peak) for joint, peak in (start, end))
    if mine is None or theirs is None:
        person = mine or theirs
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
    elif mine is theirs:
        mine.score += affinity
    elif mine.peaks.keys().isdisjoint(theirs.peaks):
        mine.peaks |= theirs.peaks
        mine.score += theirs.score + affinity
        for joint, peak in theirs.peaks.items():
            owners[joint][peak] = mine
        people[:] = [person for person in people if person is not theirs]
