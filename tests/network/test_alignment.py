"""Heatmaps of nets trained elsewhere, brought to our cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimpose import geometry, heatmap
from slimpose.arrays import Heatmaps, Points, Size
from slimpose.geometry import CellAlignment
from slimpose.network.alignment import ALIGNMENTS, align_heatmaps

CROP = Size(256, 192)
STRIDE = 4
CELLS = Size(64, 48)
SIGMA_CELLS = 2.0  # of SimpleBaseline, HRNet and DARK at this size


def drawn(points_crop: np.ndarray, alignment: CellAlignment) -> Heatmaps:
    """The Gaussians that a net of that alignment was trained on."""
    if alignment == "centers":
        cells = geometry.crop_to_heatmap(points_crop, STRIDE)
    elif alignment == "multiples":
        cells = (points_crop / STRIDE).astype(np.float32)
    else:  # the outermost cells' centers on the outermost pixels' centers
        scale = [(CELLS.width - 1) / (CROP.width - 1), (CELLS.height - 1) / (CROP.height - 1)]
        cells = (points_crop * scale).astype(np.float32)
    return heatmap.encode(cells, CELLS, sigma_px=SIGMA_CELLS)


def decoded(heatmaps: Heatmaps, alignment: CellAlignment) -> Points:
    ours = align_heatmaps(torch.from_numpy(heatmaps), alignment, stride=STRIDE).numpy()
    return geometry.heatmap_to_crop(heatmap.decode(ours).points_heatmap, STRIDE)


@pytest.mark.parametrize(
    ("alignment", "shift"),
    [
        ("centers", 0.0),
        # Cell i lies on pixel 4 * i for them, on 4 * i + 1.5 for us.
        ("multiples", 1.5),
        # A cell of theirs is 191/47 or 255/63 pixels: too far left before the middle, too far right
        # behind it.
        ("corners", 0.0),
    ],
)
def test_uncorrected_maps_are_off_by_the_known_shift_in_the_middle(
    alignment: CellAlignment, shift: float
) -> None:
    middle = np.array([[[95.5, 127.5]]], np.float32)
    heatmaps = drawn(middle, alignment)
    found = geometry.heatmap_to_crop(heatmap.decode(heatmaps).points_heatmap, STRIDE)
    np.testing.assert_allclose(found[0, 0], [95.5 + shift, 127.5 + shift], atol=0.02)


@given(
    alignment=st.sampled_from(ALIGNMENTS),
    x=st.floats(20, CROP.width - 21, width=32),
    y=st.floats(20, CROP.height - 21, width=32),
)
def test_a_point_is_found_where_it_was_drawn_whatever_the_alignment(
    alignment: CellAlignment, x: float, y: float
) -> None:
    point = np.array([[[x, y]]], np.float32)
    np.testing.assert_allclose(decoded(drawn(point, alignment), alignment), point, atol=0.05)


@pytest.mark.parametrize("alignment", ["multiples", "corners"])
def test_the_maps_are_those_of_a_net_trained_here(alignment: CellAlignment) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((20, 20), (171, 235), (1, 17, 2)).astype(np.float32)
    corrected = align_heatmaps(
        torch.from_numpy(drawn(points, alignment)), alignment, stride=STRIDE
    ).numpy()
    assert np.abs(corrected - drawn(points, "centers")).max() < 0.02


def test_flipping_the_crop_flips_the_corrected_map_cell_by_cell() -> None:
    # What the flip test needs; uncorrected, the papers shift the flipped map by a cell instead.
    point = np.array([[[61.25, 100.5]]], np.float32)
    flipped = np.array([[[CROP.width - 1 - 61.25, 100.5]]], np.float32)
    maps, mirrored = (
        align_heatmaps(torch.from_numpy(drawn(place, "multiples")), "multiples", stride=STRIDE)
        for place in (point, flipped)
    )
    torch.testing.assert_close(maps, mirrored.flip(3), atol=0.01, rtol=0)
    raw = np.abs(drawn(point, "multiples") - drawn(flipped, "multiples")[..., ::-1]).max()
    assert raw > 0.1


def test_our_own_maps_are_left_alone() -> None:
    maps = torch.rand(1, 2, 8, 6)
    assert align_heatmaps(maps, "centers", stride=STRIDE) is maps


def test_a_map_of_one_value_stays_it() -> None:
    for alignment in ALIGNMENTS:
        torch.testing.assert_close(
            align_heatmaps(torch.full((1, 1, 16, 12), 0.7), alignment, stride=STRIDE),
            torch.full((1, 1, 16, 12), 0.7),
        )
