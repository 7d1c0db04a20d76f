"""Where a heatmap's cells lie: nets trained elsewhere place them otherwise, and are brought to our convention here.

With stride s, cell i is centerd on crop pixel

- ``centers``, ours (``slimpose.geometry``): s * i + (s - 1) / 2, the middle of the pixels it
  covers;
- ``multiples``: s * i, as SimpleBaseline, HRNet, DARK and mmpose's ``MSRAHeatmap`` have it: 1.5 px
  to the upper left of ours at stride 4;
- ``corners``: i * (W - 1) / (w - 1), as UDP and mmpose's ``UDPHeatmap`` have it.

A heatmap is smooth (a standard deviation of 2 cells and more), so it is sampled anew at our cells'
centers by cubic interpolation along each axis; a Gaussian then differs by less than 2 % of its peak
from one drawn there, and is found within 0.05 px. What is behind it, flip test, DARK, distillation,
need not know where the net came from.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from slimpose.geometry import CellAlignment

ALIGNMENTS: tuple[CellAlignment, ...] = get_args(CellAlignment)


def align_heatmaps(heatmaps: Tensor, alignment: CellAlignment, *, stride: int) -> Tensor:
    """Return heatmaps (n, J, h, w), at least 4x4 cells, of that alignment as ours."""
    if alignment == "centers":
        return heatmaps
    rows, columns = (_sampling(cells, alignment, stride, heatmaps) for cells in heatmaps.shape[2:])
    return rows @ heatmaps @ columns.T


def _sampling(cells: int, alignment: CellAlignment, stride: int, like: Tensor) -> Tensor:
    """The matrix (cells, cells) from values at their cells to values at ours, along one axis."""
    index = torch.arange(cells, dtype=like.dtype, device=like.device)
    pixel = index * stride + (stride - 1) / 2
    place = (
        pixel / stride if alignment == "multiples" else pixel * ((cells - 1) / (cells * stride - 1))
    )
    before = place.floor().clamp(
        1, cells - 3
    )  # at the border, the outermost four cells are continued
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
