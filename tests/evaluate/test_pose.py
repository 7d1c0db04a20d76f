"""Flip test and decoding: heatmaps of known peaks give known points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.evaluate.pose import predict_from_heatmaps, quarter_decode
from slimpose.skeleton import Skeleton

ONE_JOINT = Skeleton(name="dot", joints=("dot",), limbs=(), sigmas=(0.1,), upper_body=())


def dot_heatmaps(offset_px: float) -> Callable[[Crops], Heatmaps]:
    """A model of stride 4 that maps crop pixel x to cell (x - offset) / 4."""

    def predict_heatmaps(crops: Crops) -> Heatmaps:
        gray = crops.astype(np.float32).sum(axis=3)
        y, x = np.divmod(gray.reshape(len(crops), -1).argmax(axis=1), crops.shape[2])
        points = np.stack([x - offset_px, y - 1.5], axis=1)[:, None] / 4
        return heatmap.encode(points.astype(np.float32), Size(32, 24), sigma_px=2.0)

    return predict_heatmaps


def one_pixel(x: int, y: int) -> Crops:
    crops = np.zeros((1, 128, 96, 3), np.uint8)
    crops[0, y, x] = 255
    return crops


@pytest.mark.parametrize("x", [21, 40, 47, 70])
def test_mirrored_heatmap_is_aligned_without_a_shift(x: int) -> None:
    flipped = predict_from_heatmaps(dot_heatmaps(1.5), ONE_JOINT, stride=4, flip=True)
    shifted = predict_from_heatmaps(
        dot_heatmaps(1.5), ONE_JOINT, stride=4, flip=True, flip_shift=True
    )
    points, _ = flipped(one_pixel(x, 60))
    np.testing.assert_allclose(points[0, 0], (x, 60), atol=0.05)
    # half of the one cell
    assert shifted(one_pixel(x, 60))[0][0, 0, 0] == pytest.approx(x + 2, abs=0.1)


def test_shift_corrects_heatmaps_in_the_biased_convention() -> None:
    def point_x(**options: bool) -> float:
        predict = predict_from_heatmaps(dot_heatmaps(0.0), ONE_JOINT, stride=4, **options)  # pyright: ignore[reportArgumentType]
        return float(predict(one_pixel(40, 60))[0][0, 0, 0])

    without_flip = point_x(flip=False)
    # averaged with a map that is 3/4 of a cell off
    assert point_x(flip=True) == pytest.approx(without_flip - 4 * 0.75 / 2, abs=0.1)
    shifted = point_x(flip=True, flip_shift=True)
    assert shifted == pytest.approx(without_flip + 4 * 0.25 / 2, abs=0.1)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({(5, 4): 1.0}, (5, 4)),  # x, y; equal neighbors: the cell itself
        ({(5, 4): 1.0, (6, 4): 0.5}, (5.25, 4)),
        ({(5, 4): 1.0, (4, 4): 0.5, (5, 5): 0.1}, (4.75, 4.25)),
        ({(0, 4): 1.0, (1, 4): 0.9}, (0, 4)),  # cells on the border are not moved
        ({(5, 7): 1.0, (6, 7): 0.9}, (5, 7)),
    ],
)
def test_maximum_moves_a_quarter_cell_to_the_higher_neighbor(
    cells: dict[tuple[int, int], float], expected: tuple[float, float]
) -> None:
    maps = np.zeros((1, 1, 8, 12), np.float32)
    for (x, y), value in cells.items():
        maps[0, 0, y, x] = value
    points, scores = quarter_decode(maps)
    assert points[0, 0].tolist() == list(expected)
    assert scores.tolist() == [[1.0]]


@given(st.floats(3, 20), st.floats(3, 28))
def test_dark_is_more_accurate_than_quarter_cell_decoding(x: float, y: float) -> None:
    maps = heatmap.encode(np.array([[[x, y]]], np.float32), Size(32, 24), sigma_px=2.0)
    quarter = np.abs(quarter_decode(maps)[0][0, 0] - (x, y)).max()
    assert quarter <= 0.251
    assert np.abs(heatmap.decode(maps).points_heatmap[0, 0] - (x, y)).max() <= 0.05
