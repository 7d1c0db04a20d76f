"""What decoders know of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Size
from slimpose.geometry import CellAlignment

Arrays = dict[str, np.ndarray]
"""Decoded outputs by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decoders know of a file.

    Attributes:
        size: Input height and width.
        names: The outputs' names, in the order in which decoders get them.
        joints: Number of joints; 0 for a detector.
        stride: Input pixels per heatmap cell.
        alignment: Where heatmap cells lie in the crop.
    """

    size: Size
    names: tuple[str, ...]
    joints: int = 0
    stride: int = 1
    alignment: CellAlignment = "multiples"
