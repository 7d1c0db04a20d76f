"""Array types used everywhere: images, boxes, points, scores, heatmaps; pytest checks their shapes.

jaxtyping describes the shapes, and beartype checks them while the tests run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from slimpose.messages import quoted


class Size(NamedTuple):
    """A height and a width in pixels, always in that order.

    >>> Size.parse("256x192").width
    192
    """

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size written as ``HEIGHTxWIDTH``.

        Raises:
            ValueError: If the text is not two positive whole numbers joined by an x.
        """
        parts = text.lower().split("x")
        if len(parts) != 2 or not all(
            part.isdecimal() and len(part) < 6 and int(part) > 0 for part in parts
        ):
            raise ValueError(
                f"size {quoted(text)} is not HEIGHTxWIDTH; expected for example 256x192"
            )
        return cls(int(parts[0]), int(parts[1]))


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images, RGB 0..1: what networks trained on them are normalized with."""

Image = UInt8[np.ndarray, "_height _width 3"]
"""RGB, 0..255 (BGR exists only where OpenCV reads and writes). Images may differ in size."""
Crops = UInt8[np.ndarray, "n crop_height crop_width 3"]
"""RGB, 0..255: people cut from images at the pose model's input size."""
Affines = Float32[np.ndarray, "n 2 3"]
"""Affine maps between pixel coordinates, one per person."""
Boxes = Float32[np.ndarray, "n 4"]
"""x1, y1, x2, y2 in image pixels."""
Points = Float32[np.ndarray, "n joints 2"]
"""x, y in pixels of the coordinate frame in the variable's name (image, crop or heatmap)."""
Scores = Float32[np.ndarray, "n joints"]
Covariances = Float32[np.ndarray, "n joints 2 2"]
"""In square pixels of the coordinate frame in the variable's name."""
Heatmaps = Float32[np.ndarray, "n joints map_height map_width"]
PersonScores = Float32[np.ndarray, " n"]
Ids = Int64[np.ndarray, " n"]
