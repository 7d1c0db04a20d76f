from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from slimpose import heatmap
from slimpose.arrays import Heatmaps, Points, Size


def one_point(x: float, y: float) -> Points:
    return np.array([[[x, y]]], np.float32)


def one_map(values: np.ndarray) -> Heatmaps:
    return values.astype(np.float32)[None, None]


# known values


def test_gaussian_has_peak_1_and_the_given_sigma() -> None:
    maps = heatmap.encode(one_point(5, 7), Size(height=16, width=12), sigma_px=2.0)[0, 0]
    assert maps.shape == (16, 12)
    assert maps[7, 5] == 1
    assert maps[7, 7] == pytest.approx(np.exp(-0.5))  # two cells are one sigma
    assert maps[9, 7] == pytest.approx(np.exp(-1.0))  # in x and y


def test_point_outside_the_map_leaves_only_its_tail() -> None:
    maps = heatmap.encode(one_point(-3, 4), Size(8, 8), sigma_px=1.0)[0, 0]
    assert maps.max() == maps[4, 0] == pytest.approx(np.exp(-4.5))


def test_fit_is_exact_for_quadratics() -> None:
    y, x = np.mgrid[-2:3, -2:3].astype(np.float64)
    surface = 3 + 0.5 * x - 0.25 * y + 0.5 * (-1.5) * x * x + 0.75 * x * y + 0.5 * (-2.0) * y * y
    np.testing.assert_allclose(
        surface.ravel() @ heatmap.quadratic_fit_matrix(), [0.5, -0.25, -1.5, 0.75, -2.0], atol=1e-12
    )


@pytest.mark.parametrize(
    ("values", "score"),
    [
        (np.zeros((9, 9)), 0.0),  # empty
        (np.full((9, 9), 0.5), 0.5),  # flat
        (np.full((9, 9), -0.5), 0.0),  # a network may output only negative values
        (np.full((9, 9), np.nan), 0.0),  # invalid
        (np.full((9, 9), np.inf), 0.0),  # overflow in half precision
        (
            np.tile(np.exp(-((np.arange(9) - 4.0) ** 2)), (9, 1)),
            1.0,
        ),  # a ridge has no maximum along its axis
        (np.eye(9), 1.0),  # a diagonal ridge
        (np.full((9, 9), 7.0), 1.0),  # scores are clipped at 1
    ],
)
def test_map_without_a_maximum_keeps_its_cell_and_finite_covariance(
    values: np.ndarray, score: float
) -> None:
    decoded = heatmap.decode(one_map(values))
    clean = np.nan_to_num(values, nan=0.0, posinf=0.0)
    y, x = np.unravel_index(clean.argmax(), clean.shape)
    assert np.abs(decoded.points_heatmap[0, 0] - [x, y]).max() <= heatmap.MAX_SHIFT_CELLS
    assert decoded.scores[0, 0] == pytest.approx(score)
    assert np.isfinite(decoded.covariances_heatmap).all()


def test_flat_map_has_the_covariance_of_a_uniform_distribution() -> None:
    decoded = heatmap.decode(one_map(np.zeros((12, 12))))
    assert decoded.covariances_heatmap[0, 0].tolist() == [
        [12, 0],
        [0, 12],
    ]  # uniform over 12 cells: 12 * 12 / 12


def test_one_nan_cell_does_not_hide_the_peak() -> None:
    values = heatmap.encode(one_point(6.3, 5.6), Size(16, 12), sigma_px=2.0)[0, 0].copy()
    values[14, 1] = np.nan
    found = heatmap.decode(one_map(values)).points_heatmap[0, 0]
    np.testing.assert_allclose(found, [6.3, 5.6], atol=0.01)


def test_higher_of_two_peaks_is_decoded_without_bias_from_the_other() -> None:
    size = Size(32, 24)
    strong = heatmap.encode(one_point(6.4, 20.7), size, sigma_px=1.5)
    weak = heatmap.encode(one_point(18.2, 8.1), size, sigma_px=1.5)
    found = heatmap.decode(np.maximum(strong, np.float32(0.8) * weak)).points_heatmap[0, 0]
    np.testing.assert_allclose(found, [6.4, 20.7], atol=0.01)


def test_peak_at_the_border_is_decoded_with_sub_cell_precision() -> None:
    for x, y in [(0.3, 5.4), (11.0, 7.7), (5.5, 0.2), (6.1, 14.9), (0.1, 0.1)]:
        found = heatmap.decode(
            heatmap.encode(one_point(x, y), Size(16, 12), sigma_px=2.0)
        ).points_heatmap[0, 0]
        np.testing.assert_allclose(found, [x, y], atol=0.02)


# properties


@given(st.data(), st.integers(8, 80), st.integers(8, 80), st.floats(1, 3))
def test_encoded_point_is_decoded_exactly(
    data: st.DataObject, height: int, width: int, sigma_px: float
) -> None:
    x, y = data.draw(st.floats(2, width - 3)), data.draw(st.floats(2, height - 3))
    decoded = heatmap.decode(
        heatmap.encode(one_point(x, y), Size(height, width), sigma_px=sigma_px)
    )
    np.testing.assert_allclose(decoded.points_heatmap[0, 0], [x, y], atol=0.05)


@given(st.floats(6, 17), st.floats(6, 25), st.floats(1, 3), st.floats(0.2, 1))
def test_covariance_is_that_of_the_gaussian(
    x: float, y: float, sigma_px: float, height: float
) -> None:
    maps = heatmap.encode(one_point(x, y), Size(32, 24), sigma_px=sigma_px) * np.float32(height)
    decoded = heatmap.decode(maps)
    variance = sigma_px**2
    np.testing.assert_allclose(
        decoded.covariances_heatmap[0, 0],
        [[variance, 0], [0, variance]],
        atol=0.02 * variance,
        rtol=0.02,
    )
    assert decoded.scores[0, 0] == maps.max()


def test_rotated_gaussian_has_a_rotated_covariance() -> None:
    covariance = np.array([[4.0, 1.5], [1.5, 2.5]])
    y, x = np.mgrid[:24, :20]
    offset = np.stack([x - 9.3, y - 12.6], axis=-1)
    values = np.exp(-0.5 * np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset))
    decoded = heatmap.decode(one_map(values))
    np.testing.assert_allclose(decoded.points_heatmap[0, 0], [9.3, 12.6], atol=0.01)
    np.testing.assert_allclose(decoded.covariances_heatmap[0, 0], covariance, rtol=0.02)


any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    st_numpy.arrays(
        np.float32,
        st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(5, 9), st.integers(5, 9)),
        elements=st.one_of(any_float, st.floats(-1, 1, width=32), st.just(0.0)),
    )
)
def test_any_map_decodes_to_finite_values_near_its_maximum(maps: Heatmaps) -> None:
    decoded = heatmap.decode(maps)
    n, joints, height, width = maps.shape
    clean = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0).reshape(n, joints, height * width)
    peak_y, peak_x = np.divmod(clean.argmax(axis=2), width)
    assert np.isfinite(decoded.points_heatmap).all()
    assert np.isfinite(decoded.covariances_heatmap).all()
    assert (
        np.abs(decoded.points_heatmap - np.stack([peak_x, peak_y], axis=-1))
        <= heatmap.MAX_SHIFT_CELLS
    ).all()
    assert ((decoded.scores >= 0) & (decoded.scores <= 1)).all()
    assert (np.linalg.det(decoded.covariances_heatmap.astype(np.float64)) > 0).all()


def test_batch_equals_single_maps() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 4, 16, 12)).astype(np.float32)
    together = heatmap.decode(maps)
    for person in range(5):
        for joint in range(4):
            alone = heatmap.decode(maps[person : person + 1, joint : joint + 1])
            for batch, single in zip(together, alone, strict=True):
                np.testing.assert_allclose(batch[person, joint], single[0, 0], rtol=1e-5, atol=1e-6)


def test_decoding_does_not_modify_the_maps() -> None:
    maps = one_map(np.full((6, 6), np.nan))
    heatmap.decode(maps)
    assert np.isnan(maps).all()


# errors


@pytest.mark.parametrize(("height", "width"), [(4, 12), (12, 4), (1, 1)])
def test_map_smaller_than_the_window_is_rejected(height: int, width: int) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"heatmaps are {height}x{width}; expected at least 5x5 cells")
    ):
        heatmap.decode(np.zeros((1, 1, height, width), np.float32))


def test_covariance_is_limited_to_a_uniform_distribution() -> None:
    nearly_flat = heatmap.encode(np.full((1, 1, 2), 8, np.float32), Size(20, 16), sigma_px=60.0)
    covariance = heatmap.decode(nearly_flat).covariances_heatmap[0, 0]
    assert covariance[0, 0] <= 16**2 / 12 + 1e-3
    assert covariance[1, 1] <= 20**2 / 12 + 1e-3
    assert np.linalg.eigvalsh(covariance).min() > 0
