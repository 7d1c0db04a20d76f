"""The colors of a person's clothes: what tells a returning person from another one at the same place."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float32, Float64

from slimpose.arrays import Boxes, Image

_LEVELS = 6  # a channel
_PARTS = np.array([[0.3, 0.2, 0.7, 0.55], [0.3, 0.55, 0.7, 0.9]], np.float32)
"""Of the box: x1, y1, x2, y2 of the trunk and of the legs. The two apart tell twice as many people from each other."""
BINS = len(_PARTS) * _LEVELS**3
"""Of a histogram."""
_SAMPLES = 16  # pixels a side of a part


def torso_histograms(image: Image, boxes_image: Boxes) -> Float32[np.ndarray, "n bins"]:
    """Return histograms (BINS bins, summing to 1) of the middle of the upper and of the lower part of each box.

    Where a part lies off the image, its share is nought.
    """
    extents = (boxes_image[:, 2:] - boxes_image[:, :2])[:, [0, 1, 0, 1]]
    histograms = [
        _soft_histograms(image, boxes_image[:, [0, 1, 0, 1]] + share * extents) / len(_PARTS)
        for share in _PARTS
    ]
    return np.concatenate(histograms, axis=1).astype(np.float32)


def _soft_histograms(image: Image, parts_image: Boxes) -> Float64[np.ndarray, "n bins"]:
    """Each pixel is shared by its two nearest bins of every channel, so that a little more light changes little."""
    steps = np.linspace(0, 1, _SAMPLES)
    places = (
        parts_image[:, None, :2]
        + steps[:, None] * (parts_image[:, 2:] - parts_image[:, :2])[:, None]
    )
    columns, rows = np.moveaxis(places.round().astype(int), 2, 0)  # each (n, samples)
    inside = ((rows >= 0) & (rows < image.shape[0]))[:, :, None] & (
        (columns >= 0) & (columns < image.shape[1])
    )[:, None]
    person, row, column = np.nonzero(inside)
    pixels = image[rows[person, row], columns[person, column]].astype(np.float32)
    place = np.clip(pixels * (_LEVELS / 256) - 0.5, 0, _LEVELS - 1)
    low = np.minimum(place.astype(int), _LEVELS - 2)
    part = place - low
    bins = len(parts_image) * _LEVELS**3
    histograms = np.zeros(bins)
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(np.array(corner) == 1, part, 1 - part).prod(axis=1)
        index = person * _LEVELS**3 + (low + corner) @ np.array([_LEVELS**2, _LEVELS, 1])
        histograms += np.bincount(index, weights=weight, minlength=bins)
    histograms = histograms.reshape(len(parts_image), _LEVELS**3)
    return histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9)


def histogram_similarity(
    colors_a: Float32[np.ndarray, "a bins"], colors_b: Float32[np.ndarray, "b bins"]
) -> Float32[np.ndarray, "a b"]:
    """Return the Bhattacharyya coefficient of every pair, 0..1; 1 where either is unknown (all zero)."""
    likeness = np.sqrt(colors_a) @ np.sqrt(colors_b).T
    known = (colors_a.sum(axis=1) > 0)[:, None] & (colors_b.sum(axis=1) > 0)[None]
    return np.where(known, np.clip(likeness, 0, 1), 1).astype(np.float32)
