"""Color histograms of people or other objects, for re-identification."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Float64

from slimpose.arrays import Boxes, Image
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton
from slimpose.skeleton_parts import is_person

_LEVELS = 6  # per channel
_PARTS = np.array([[0.3, 0.2, 0.7, 0.55], [0.3, 0.55, 0.7, 0.9]], np.float32)
"""x1, y1, x2, y2 of a person's trunk and legs, as fractions of the box.

Separate histograms distinguish twice as many people as one.
"""
BINS = len(_PARTS) * _LEVELS**3
"""Bins of a histogram."""
_SAMPLES = 16  # pixels per side of a part


def color_histograms(image: Image, poses: Poses) -> Float32[np.ndarray, "n bins"]:
    """Return the RGB histogram of two parts of each person: BINS bins that sum to 1.

    They are trunk and legs in the box of a person; of other skeletons what lies between the trunk's
    joints, and along the other limbs. The bins of a part that lies outside the image are 0.
    """
    if is_person(poses.skeleton):
        return torso_histograms(image, poses.boxes_image)
    parts = [
        weights @ np.nan_to_num(poses.points_image, nan=-1.0)
        for weights in limb_samples(poses.skeleton)
    ]
    return _histograms(image, parts)


def torso_histograms(image: Image, boxes_image: Boxes) -> Float32[np.ndarray, "n bins"]:
    """Return the RGB histogram of the trunk and of the legs in each box: BINS bins that sum to 1.

    The bins of a part that lies outside the image are 0.
    """
    return _histograms(image, [_grid(boxes_image, part) for part in _PARTS])


def _histograms(image: Image, parts: list[np.ndarray]) -> Float32[np.ndarray, "n bins"]:
    histograms = [_soft_histograms(image, points) / len(parts) for points in parts]
    return np.concatenate(histograms, axis=1).astype(np.float32)


def _grid(boxes_image: Boxes, part: np.ndarray) -> Float[np.ndarray, "n samples 2"]:
    """Points (x, y) in a part of each box."""
    extents = (boxes_image[:, 2:] - boxes_image[:, :2])[:, [0, 1, 0, 1]]
    parts_image = boxes_image[:, [0, 1, 0, 1]] + part * extents
    steps = np.linspace(0, 1, _SAMPLES)
    samples = (
        parts_image[:, None, :2]
        + steps[:, None] * (parts_image[:, 2:] - parts_image[:, :2])[:, None]
    )
    rows = np.repeat(np.arange(_SAMPLES), _SAMPLES)
    columns = np.tile(np.arange(_SAMPLES), _SAMPLES)
    return np.stack([samples[:, columns, 0], samples[:, rows, 1]], axis=2)


@lru_cache(maxsize=16)
def limb_samples(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (samples, joints) of the joints in points of the trunk and of other limbs."""
    rng, count = np.random.default_rng(0), _SAMPLES**2
    joints = len(skeleton.joints)
    trunk = [skeleton.joints.index(joint) for joint in skeleton.trunk] or list(range(joints))
    between = np.zeros((count, joints), np.float32)
    between[:, trunk] = rng.dirichlet(np.ones(len(trunk)), count)
    limbs = [limb for limb in skeleton.limb_indices if not set(limb) <= set(trunk)]
    if not limbs:
        return between, between
    along, share = np.zeros((count, joints), np.float32), rng.random(count)
    ends = np.array(limbs)[rng.integers(len(limbs), size=count)]
    along[np.arange(count), ends[:, 0]] = share
    along[np.arange(count), ends[:, 1]] += 1 - share
    return between, along


def _soft_histograms(
    image: Image, points_image: Float[np.ndarray, "n samples 2"]
) -> Float64[np.ndarray, "n bins"]:
    """Histograms in which each pixel counts in the two nearest bins of every channel.

    So a small change of the light changes them little.
    """
    limit = np.array(image.shape[1::-1])
    cells = np.clip(points_image.round(), -1, limit).astype(int)
    inside = ((cells >= 0) & (cells < limit)).all(axis=2)
    person, sample = np.nonzero(inside)
    column, row = cells[person, sample].T
    pixels = image[row, column].astype(np.float32)
    levels = np.clip(pixels * (_LEVELS / 256) - 0.5, 0, _LEVELS - 1)
    low = np.minimum(levels.astype(int), _LEVELS - 2)
    fraction = levels - low
    bins = len(points_image) * _LEVELS**3
    histograms = np.zeros(bins)
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(np.array(corner) == 1, fraction, 1 - fraction).prod(axis=1)
        index = person * _LEVELS**3 + (low + corner) @ np.array([_LEVELS**2, _LEVELS, 1])
        histograms += np.bincount(index, weights=weight, minlength=bins)
    histograms = histograms.reshape(len(points_image), _LEVELS**3)
    return histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9)


def histogram_similarity(
    histograms_a: Float32[np.ndarray, "a bins"], histograms_b: Float32[np.ndarray, "b bins"]
) -> Float32[np.ndarray, "a b"]:
    """Return the Bhattacharyya coefficient of every pair, 0..1; 1 if either is unknown (all 0)."""
    similarity = np.sqrt(histograms_a) @ np.sqrt(histograms_b).T
    known = (histograms_a.sum(axis=1) > 0)[:, None] & (histograms_b.sum(axis=1) > 0)[None]
    return np.where(known, np.clip(similarity, 0, 1), 1).astype(np.float32)
