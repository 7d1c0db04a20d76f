"""Heatmaps of networks trained elsewhere, resampled to our cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimpose import geometry, heatmap
from slimpose.arrays import Heatmaps, Points, Size
from slimpose.network.alignment import ALIGNMENTS, Alignment, align_heatmaps

CROP = Size(256, 192)
STRIDE = 4
CELLS = Size(64, 48)
SIGMA_CELLS = 2.0  # of SimpleBaseline, HRNet and DARK at this size


def encode(points_crop: np.ndarray, alignment: Alignment) -> Heatmaps:
    """The target heatmaps of a network with that alignment."""
    if alignment == "centers":
        cells = geometry.crop_to_heatmap(points_crop, STRIDE)
    elif alignment == "multiples":
        cells = (points_crop / STRIDE).astype(np.float32)
    else:  # the outermost cells' centers on the outermost pixels' centers
        scale = [(CELLS.width - 1) / (CROP.width - 1), (CELLS.height - 1) / (CROP.height - 1)]
        cells = (points_crop * scale).astype(np.float32)
    return heatmap.encode(cells, CELLS, sigma_px=SIGMA_CELLS)


def decode(heatmaps: Heatmaps, alignment: Alignment) -> Points:
    aligned = align_heatmaps(torch.from_numpy(heatmaps), alignment, stride=STRIDE).numpy()
    return geometry.heatmap_to_crop(heatmap.decode(aligned).points_heatmap, STRIDE)


@pytest.mark.parametrize(
    ("alignment", "shift"),
    [
        ("centers", 0.0),
        # Cell i is at pixel 4 * i for "multiples", at 4 * i + 1.5 for "centers".
        ("multiples", 1.5),
        # A "corners" cell is 191/47 or 255/63 pixels: the error changes sign in the middle.
        ("corners", 0.0),
    ],
)
def test_unaligned_heatmaps_are_shifted_by_a_known_offset_in_the_middle(
    alignment: Alignment, shift: float
) -> None:
    middle = np.array([[[95.5, 127.5]]], np.float32)
    heatmaps = encode(middle, alignment)
    points = geometry.heatmap_to_crop(heatmap.decode(heatmaps).points_heatmap, STRIDE)
    np.testing.assert_allclose(points[0, 0], [95.5 + shift, 127.5 + shift], atol=0.02)


@given(
    alignment=st.sampled_from(ALIGNMENTS),
    x=st.floats(20, CROP.width - 21, width=32),
    y=st.floats(20, CROP.height - 21, width=32),
)
def test_points_are_decoded_correctly_for_every_alignment(
    alignment: Alignment, x: float, y: float
) -> None:
    point = np.array([[[x, y]]], np.float32)
    np.testing.assert_allclose(decode(encode(point, alignment), alignment), point, atol=0.05)


@pytest.mark.parametrize("alignment", ["multiples", "corners"])
def test_aligned_heatmaps_match_heatmaps_at_centers(alignment: Alignment) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((20, 20), (171, 235), (1, 17, 2)).astype(np.float32)
    corrected = align_heatmaps(
        torch.from_numpy(encode(points, alignment)), alignment, stride=STRIDE
    ).numpy()
    assert np.abs(corrected - encode(points, "centers")).max() < 0.02


def test_flipping_the_crop_flips_the_aligned_heatmap() -> None:
    # Needed for flip tests; without alignment, the papers shift the flipped heatmap by a cell.
    point = np.array([[[61.25, 100.5]]], np.float32)
    flipped = np.array([[[CROP.width - 1 - 61.25, 100.5]]], np.float32)
    maps, mirrored = (
        align_heatmaps(torch.from_numpy(encode(place, "multiples")), "multiples", stride=STRIDE)
        for place in (point, flipped)
    )
    torch.testing.assert_close(maps, mirrored.flip(3), atol=0.01, rtol=0)
    raw = np.abs(encode(point, "multiples") - encode(flipped, "multiples")[..., ::-1]).max()
    assert raw > 0.1


def test_heatmaps_at_centers_are_unchanged() -> None:
    maps = torch.rand(1, 2, 8, 6)
    assert align_heatmaps(maps, "centers", stride=STRIDE) is maps


def test_constant_heatmaps_stay_constant() -> None:
    for alignment in ALIGNMENTS:
        torch.testing.assert_close(
            align_heatmaps(torch.full((1, 1, 16, 12), 0.7), alignment, stride=STRIDE),
            torch.full((1, 1, 16, 12), 0.7),
        )
