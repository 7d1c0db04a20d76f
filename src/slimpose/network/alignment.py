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

from slimpose.geometry import CellAlignment, alignment_matrix

ALIGNMENTS: tuple[CellAlignment, ...] = get_args(CellAlignment)


def align_heatmaps(heatmaps: Tensor, alignment: CellAlignment, *, stride: int) -> Tensor:
    """Return heatmaps (n, J, h, w) with cells at ``centers`` instead of ``alignment``.

    h and w are at least 4; ``stride`` is crop pixels per cell.
    """
    if alignment == "centers":
        return heatmaps
    rows, columns = (
        torch.from_numpy(alignment_matrix(cells, alignment, stride=stride)).to(heatmaps)
        for cells in heatmaps.shape[2:]
    )
    return rows @ heatmaps @ columns.T
