"""Color histograms of people, for re-identification by clothing."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float32, Float64

from slimpose.arrays import Boxes, Image

_LEVELS = 6  # per channel
_PARTS = np.array([[0.3, 0.2, 0.7, 0.55], [0.3, 0.55, 0.7, 0.9]], np.float32)
"""x1, y1, x2, y2 of the trunk and of the legs, as fractions of the box.

Separate histograms distinguish twice as many people as one.
"""
BINS = len(_PARTS) * _LEVELS**3
"""Bins of a histogram."""
_SAMPLES = 16  # pixels per side of a part


def torso_histograms(image: Image, boxes_image: Boxes) -> Float32[np.ndarray, "n bins"]:
    """Return the RGB histogram of the trunk and of the legs in each box: BINS bins that sum to 1.

    The bins of a part that lies outside the image are 0.
    """
    extents = (boxes_image[:, 2:] - boxes_image[:, :2])[:, [0, 1, 0, 1]]
    histograms = [
        _soft_histograms(image, boxes_image[:, [0, 1, 0, 1]] + part * extents) / len(_PARTS)
        for part in _PARTS
    ]
    return np.concatenate(histograms, axis=1).astype(np.float32)


def _soft_histograms(image: Image, parts_image: Boxes) -> Float64[np.ndarray, "n bins"]:
    """Histograms in which each pixel counts in the two nearest bins of every channel.

    So a small change of the light changes them little.
    """
    steps = np.linspace(0, 1, _SAMPLES)
    samples = (
        parts_image[:, None, :2]
        + steps[:, None] * (parts_image[:, 2:] - parts_image[:, :2])[:, None]
    )
    columns, rows = np.moveaxis(samples.round().astype(int), 2, 0)  # each (n, samples)
    inside = ((rows >= 0) & (rows < image.shape[0]))[:, :, None] & (
        (columns >= 0) & (columns < image.shape[1])
    )[:, None]
    person, row, column = np.nonzero(inside)
    pixels = image[rows[person, row], columns[person, column]].astype(np.float32)
    levels = np.clip(pixels * (_LEVELS / 256) - 0.5, 0, _LEVELS - 1)
    low = np.minimum(levels.astype(int), _LEVELS - 2)
    fraction = levels - low
    bins = len(parts_image) * _LEVELS**3
    histograms = np.zeros(bins)
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(np.array(corner) == 1, fraction, 1 - fraction).prod(axis=1)
        index = person * _LEVELS**3 + (low + corner) @ np.array([_LEVELS**2, _LEVELS, 1])
        histograms += np.bincount(index, weights=weight, minlength=bins)
    histograms = histograms.reshape(len(parts_image), _LEVELS**3)
    return histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9)


def histogram_similarity(
    histograms_a: Float32[np.ndarray, "a bins"], histograms_b: Float32[np.ndarray, "b bins"]
) -> Float32[np.ndarray, "a b"]:
    """Return the Bhattacharyya coefficient of every pair, 0..1; 1 if either is unknown (all 0)."""
    similarity = np.sqrt(histograms_a) @ np.sqrt(histograms_b).T
    known = (histograms_a.sum(axis=1) > 0)[:, None] & (histograms_b.sum(axis=1) > 0)[None]
    return np.where(known, np.clip(similarity, 0, 1), 1).astype(np.float32)
