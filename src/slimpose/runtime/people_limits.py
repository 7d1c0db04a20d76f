"""Which of the people in an image are kept: a least score of their boxes, and a largest number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from slimpose.arrays import Boxes
from slimpose.fields import check_count


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleLimits:
    """Which people are kept.

    Attributes:
        conf: Minimum score 0..1 of a person box; None for the model's own threshold.
        max_people: At most this many people per image, the largest; None for all.

    Raises:
        ValueError: If a number is out of range.
    """

    conf: float | None = None
    max_people: int | None = None

    def __post_init__(self) -> None:
        if self.conf is not None and not 0 <= self.conf <= 1:
            raise ValueError(f"conf is {self.conf:g}; expected a number 0..1")
        if self.max_people is not None:
            check_count(self.max_people, "max_people")


ALL_PEOPLE = PeopleLimits()


def largest_people(
    boxes_image: Boxes, max_people: int | None, *, preferred: np.ndarray | None = None
) -> Int64[np.ndarray, " kept"]:
    """Return the rows of the ``max_people`` boxes of largest area, in their order; None: all rows.

    ``preferred`` (n,) marks people who were kept before: another must be 1.3 times as large to
    replace one, so that two of a size do not alternate.

    >>> boxes = np.array([[0, 0, 2, 2], [0, 0, 9, 9], [0, 0, 5, 5]], np.float32)
    >>> largest_people(boxes, 2).tolist()
    [1, 2]
    """
    if max_people is None or len(boxes_image) <= max_people:
        return np.arange(len(boxes_image))
    sides = boxes_image[:, 2:] - boxes_image[:, :2]
    areas = sides[:, 0].astype(np.float64) * sides[:, 1]
    if preferred is not None:
        areas = np.where(preferred, 1.3 * areas, areas)
    return np.sort(np.argsort(-areas, kind="stable")[:max_people]).astype(np.int64)
