"""The cells of a detector's maps: where each one lies in the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from slimpose.arrays import Size


class Cells(NamedTuple):
    """Centers (cells, 2), x and y in input pixels, and strides (cells,) of a detector's cells."""

    centers: Tensor
    strides: Tensor


def grid_cells(size: Size, strides: Sequence[int], device: torch.device) -> Cells:
    """Return the cells of one map per stride for an input size, row by row, map after map.

    >>> grid_cells(Size(8, 16), [8], torch.device("cpu")).centers.tolist()
    [[3.5, 3.5], [11.5, 3.5]]
    """
    centers, sizes = [], []
    for stride in strides:
        # As many as stride-2 convolutions make, which round up.
        rows, columns = (
            torch.arange(-(-side // stride), dtype=torch.float32, device=device) for side in size
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centers.append(torch.stack([x, y], dim=2).reshape(-1, 2) * stride + (stride - 1) / 2)
        sizes.append(torch.full((x.numel(),), float(stride), device=device))
    return Cells(torch.cat(centers), torch.cat(sizes))
