"""AP by properties of the people: size, crowding, occlusion, truncation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from slimpose import geometry
from slimpose.evaluate.error_analysis.matching import (
    AveragePrecision,
    ImagePoses,
    MatchingInput,
    PersonMask,
    average_precision,
    matching_input,
)
from slimpose.skeleton import Skeleton

BORDER_PX = 2.0
"""A box this close to the image border counts as truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """One group of people.

    Attributes:
        name: The group's name.
        precision: AP over the group; None if it is empty.
        lost_share: The group's share of all lost AP: its number of people times 1 - AP, over the
            sum of that over all groups.
    """

    name: str
    precision: AveragePrecision | None
    lost_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """People grouped by one property."""

    name: str
    explanation: str
    rows: tuple[GroupRow, ...]


PersonValues = Float64[np.ndarray, " people"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Property:
    """A property of people; ``value`` returns it for each person of an image.

    The explanation has its unit. A range is a group's name, its lower end (included) and its upper
    end (excluded).
    """

    name: str
    explanation: str
    ranges: Sequence[tuple[str, float, float]]
    value: Callable[[ImagePoses], PersonValues]


def _crowding(image: ImagePoses) -> PersonValues:
    """Largest IoU with another person's box; boxes of whole crowds do not count."""
    boxes = image.boxes.astype(np.float32)
    overlap = geometry.box_iou(boxes, boxes).astype(np.float64)
    overlap[:, image.is_crowd] = 0.0
    np.fill_diagonal(overlap, 0.0)
    return overlap.max(axis=1, initial=0.0)


def _hidden_share(image: ImagePoses) -> PersonValues:
    return (image.visibility == 1).sum(axis=1) / np.maximum(image.labeled.sum(axis=1), 1)


def _is_truncated(image: ImagePoses) -> PersonValues:
    low, high = image.boxes[:, :2], image.boxes[:, 2:]
    far_border = np.array([image.size.width, image.size.height]) - BORDER_PX
    is_near = (low <= BORDER_PX) | (high >= far_border)
    return np.logical_or(is_near[:, 0], is_near[:, 1]).astype(np.float64)


_COCO_AREAS = (
    ("small (under 32²)", 0.0, 32.0**2),
    ("medium (32² to 96²)", 32.0**2, 96.0**2),
    ("large (over 96²)", 96.0**2, 1e10),
)
_SIZES_PX = (32.0, 48.0, 64.0, 96.0, 128.0, 192.0)
_PROPERTIES = (
    _Property(
        name="Size",
        explanation="Root of the annotated area, in pixels.",
        ranges=[
            (f"under {_SIZES_PX[0]:g}", 0.0, _SIZES_PX[0]),
            *((f"{low:g} to {high:g}", low, high) for low, high in pairwise(_SIZES_PX)),
            (f"{_SIZES_PX[-1]:g} and more", _SIZES_PX[-1], 1e5),
        ],
        value=lambda image: np.sqrt(np.maximum(image.areas, 0)),
    ),
    _Property(
        name="Crowding",
        explanation="Largest overlap (intersection over union) of the person's box with another "
        "person's box.",
        ranges=[
            ("none", 0.0, 1e-6),
            ("under 0.1", 1e-6, 0.1),
            ("0.1 to 0.3", 0.1, 0.3),
            ("0.3 to 0.5", 0.3, 0.5),
            ("0.5 and more", 0.5, 2.0),
        ],
        value=_crowding,
    ),
    _Property(
        name="Hidden joints",
        explanation="Share of the person's labeled joints that are marked hidden (v = 1).",
        ranges=[
            ("none", 0.0, 1e-6),
            ("under a quarter", 1e-6, 0.25),
            ("a quarter to a half", 0.25, 0.5),
            ("half and more", 0.5, 2.0),
        ],
        value=_hidden_share,
    ),
    _Property(
        name="Truncated by the image border",
        explanation=f"Whether the person's box comes within {BORDER_PX:g} pixels of the border.",
        ranges=[("no", 0.0, 1.0), ("yes", 1.0, 2.0)],
        value=_is_truncated,
    ),
    _Property(
        name="Labeled joints",
        explanation="Share of the skeleton's joints that are labeled: low for partly visible "
        "people and for people too unclear to annotate.",
        ranges=[("up to a third", 0.0, 0.34), ("to two thirds", 0.34, 0.67), ("more", 0.67, 2.0)],
        value=lambda image: image.labeled.astype(np.float64).mean(axis=1),
    ),
)


def groupings(images: Sequence[ImagePoses], skeleton: Skeleton) -> tuple[Grouping, ...]:
    """Return COCO's AP of groups of people, by several properties.

    People outside a group are ignored, as COCO ignores people outside a size range. The first
    grouping is COCO's own, by size.
    """
    sigmas = skeleton.sigma_array.astype(np.float64)
    inputs = [matching_input(image, sigmas) for image in images]
    nearest = [_nearest_people(image) for image in images]
    result = [_coco_sizes(images, inputs)]
    for group_by in _PROPERTIES:
        values = [group_by.value(image) for image in images]
        rows = []
        for name, low, high in group_by.ranges:
            inside = [(one >= low) & (one < high) for one in values]
            rows.append((name, average_precision(list(map(_only, inputs, inside, nearest)))))
        result.append(_grouping(group_by.name, group_by.explanation, rows))
    return tuple(result)


def _coco_sizes(images: Sequence[ImagePoses], inputs: Sequence[MatchingInput]) -> Grouping:
    rows = []
    for name, low, high in _COCO_AREAS:
        in_range = [_in_area(*pair, low, high) for pair in zip(images, inputs, strict=True)]
        rows.append((name, average_precision(in_range)))
    explanation = (
        "By annotated area in square pixels, both ends included; a pose matched with no person "
        "counts in the range of its own extent. Medium and large are COCO's APM and APL."
    )
    return _grouping("Size, COCO's ranges", explanation, rows)


def _grouping(
    name: str, explanation: str, rows: Sequence[tuple[str, AveragePrecision | None]]
) -> Grouping:
    lost = [0.0 if figure is None else figure.people * (1 - figure.ap) for _, figure in rows]
    total = max(sum(lost), np.spacing(1))
    return Grouping(
        name=name,
        explanation=explanation,
        rows=tuple(
            GroupRow(name=row, precision=figure, lost_share=float(part / total))
            for (row, figure), part in zip(rows, lost, strict=True)
        ),
    )


def _only(
    whole: MatchingInput, inside: PersonMask, nearest: Int64[np.ndarray, " poses"]
) -> MatchingInput:
    """Ignore all people outside the group, and excuse the poses nearest to them."""
    others = np.append(~inside & ~whole.is_ignored, False)  # -1, no person, is the last
    return dataclasses.replace(
        whole, is_ignored=whole.is_ignored | ~inside, is_excused=others[nearest]
    )


def _in_area(image: ImagePoses, whole: MatchingInput, low: float, high: float) -> MatchingInput:
    extent = np.ptp(image.points_predicted, axis=1).prod(axis=1)
    return dataclasses.replace(
        whole,
        is_ignored=whole.is_ignored | (image.areas < low) | (image.areas > high),
        is_excused=(extent < low) | (extent > high),
    )


def _nearest_people(image: ImagePoses) -> Int64[np.ndarray, " poses"]:
    """For each pose the person of the nearest labeled joints, or -1 if there is none.

    Distances are in units of the root of the person's area.
    """
    counted = np.flatnonzero(image.is_counted)
    if len(counted) == 0:
        return np.full(len(image.scores), -1, np.int64)
    offsets = image.points_predicted[:, None] - image.points_true[None, counted]
    labeled = image.labeled[counted]
    mean = (np.linalg.norm(offsets, axis=3) * labeled).sum(axis=2) / labeled.sum(axis=1)
    size = np.sqrt(np.maximum(image.areas[counted], np.spacing(1)))
    return counted[(mean / size).argmin(axis=1)].astype(np.int64)
