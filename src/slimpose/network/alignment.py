"""Heatmap alignment: resample heatmaps of networks trained elsewhere to slimpose's convention.

With stride s, the center of cell i is at crop pixel

- ``centers``, slimpose's own (``slimpose.geometry``): s * i + (s - 1) / 2, the middle of the
  pixels it covers;
- ``multiples``: s * i, used by SimpleBaseline, HRNet, DARK and mmpose's ``MSRAHeatmap``: 1.5 px
  to the upper left of ``centers`` at stride 4;
- ``corners``: i * (W - 1) / (w - 1), used by UDP and mmpose's ``UDPHeatmap``.

A heatmap is smooth (a standard deviation of 2 cells and more), so it is resampled at our cells'
centers by cubic interpolation along each axis. A resampled Gaussian differs from one drawn there by
less than 2 % of its peak, and is decoded within 0.05 px. Later steps (flip test, DARK,
distillation) need not know where the network was trained.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from slimpose.geometry import CellAlignment

ALIGNMENTS: tuple[CellAlignment, ...] = get_args(CellAlignment)


def align_heatmaps(heatmaps: Tensor, alignment: CellAlignment, *, stride: int) -> Tensor:
    """Return heatmaps (n, J, h, w) with cells at ``centers`` instead of ``alignment``.

    h and w are at least 4; ``stride`` is crop pixels per cell.
    """
    if alignment == "centers":
        return heatmaps
    rows, columns = (_sampling(cells, alignment, stride, heatmaps) for cells in heatmaps.shape[2:])
    return rows @ heatmaps @ columns.T


def _sampling(cells: int, alignment: CellAlignment, stride: int, like: Tensor) -> Tensor:
    """Return the matrix (cells, cells) that resamples an axis from ``alignment`` to ``centers``."""
    index = torch.arange(cells, dtype=like.dtype, device=like.device)
    pixel = index * stride + (stride - 1) / 2
    place = (
        pixel / stride if alignment == "multiples" else pixel * ((cells - 1) / (cells * stride - 1))
    )
    # At the border, the outermost four cells are extrapolated.
    before = place.floor().clamp(1, cells - 3)
    t = (place - before)[:, None]
    # Lagrange's weights of the cells before - 1 .. before + 2: exact for cubics.
    weights = (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
    matrix = torch.zeros(cells, cells, dtype=like.dtype, device=like.device)
    for step, weight in enumerate(weights, start=-1):
        matrix = matrix + weight * ((before + step)[:, None] == index).to(like.dtype)
    return matrix
