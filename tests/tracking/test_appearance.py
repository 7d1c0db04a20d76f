from __future__ import annotations

import numpy as np
import pytest

from slimpose.tracking.appearance import BINS, histogram_similarity, torso_histograms
from walkers import box


def clothed(color: tuple[int, int, int]) -> np.ndarray:
    image = np.full((200, 200, 3), 90, np.uint8)
    image[50:150, 80:120] = color
    return image


def test_same_clothing_in_other_light_is_more_similar_than_other_clothing() -> None:
    boxes = box(100, 100)[None]
    red, dim_red, blue = (
        torso_histograms(clothed(color), boxes)
        for color in ((200, 40, 40), (190, 38, 38), (40, 40, 200))
    )
    assert histogram_similarity(red, red)[0, 0] == pytest.approx(1, abs=1e-5)
    assert histogram_similarity(red, dim_red)[0, 0] > 0.85
    assert histogram_similarity(red, blue)[0, 0] < 0.5


def test_histogram_sums_to_one_and_is_zero_outside_the_image() -> None:
    boxes = np.stack([box(100, 100), box(199, 100), box(900, 900)])
    histograms = torso_histograms(clothed((1, 2, 3)), boxes)
    assert histograms.shape == (3, BINS)
    np.testing.assert_allclose(histograms.sum(axis=1), [1, 1, 0], atol=1e-5)


def test_unknown_histogram_is_similar_to_all() -> None:
    known = torso_histograms(clothed((9, 99, 199)), box(100, 100)[None])
    assert histogram_similarity(known, np.zeros((1, BINS), np.float32))[0, 0] == 1
