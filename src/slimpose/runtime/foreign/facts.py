"""What decoders know of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slimpose.arrays import Size
from slimpose.geometry import CellAlignment

Arrays = dict[str, np.ndarray]
"""Decoded outputs by name."""
ANY_CLASS = -1
"""In place of a class's number: objects of all classes are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decoders know of a file.

    Attributes:
        size: Input height and width.
        names: The outputs' names, in the order in which decoders get them.
        joints: Number of joints; 0 for a detector.
        stride: Input pixels per heatmap cell.
        alignment: Where heatmap cells lie in the crop.
        values: Numbers per keypoint of a YOLO: x and y, and a score if there are three.
        is_normalized: Whether boxes and points are shares 0..1 of the input, not its pixels, as its
            kind has them otherwise.
        person: The number of the class of people, or ``ANY_CLASS``; None if the file does not say:
            0, or 1 among COCO's 90 category ids.
    """

    size: Size
    names: tuple[str, ...]
    joints: int = 0
    stride: int = 1
    alignment: CellAlignment = "multiples"
    values: int = 3
    is_normalized: bool = False
    person: int | None = None
