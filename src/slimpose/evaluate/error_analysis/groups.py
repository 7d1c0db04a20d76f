"""AP by what the people are like: their size, crowding, occlusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from slimpose import geometry
from slimpose.evaluate.error_analysis.matching import (
    AveragePrecision,
    ImagePoses,
    MatchingInput,
    average_precision,
    matching_input,
)
from slimpose.formats.coco import CocoFile

BORDER_PX = 2.0
"""A box that comes this near to the picture's border is taken as cut off by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """The people of one kind.

    Attributes:
        name: Which people.
        precision: Over them; None where there are none.
        lost: Their share of all that is lost: their number times 1 - AP, over the sum of that.
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


_Band = tuple[str, float, float]
"""What it is called, from, to: the lower end belongs to it, the upper does not."""


def groupings(annotations: CocoFile, scenes: Sequence[ImagePoses]) -> tuple[Grouping, ...]:
    """Return COCO's AP of the people of each kind, by several properties; people outside a kind are ignored."""
    sigmas = annotations.skeleton.sigma_array.astype(np.float64)
    whole = [matching_input(scene, sigmas) for scene in scenes]
    nearest = [_nearest_people(scene) for scene in scenes]

    def by(
        name: str,
        explanation: str,
        bands: Sequence[_Band],
        value: Callable[[ImagePoses], Float64[np.ndarray, " people"]],
    ) -> Grouping:
        values = [value(scene) for scene in scenes]
        rows = []
        for band, low, high in bands:
            inside = [(one >= low) & (one < high) for one in values]
            rows.append((band, average_precision(list(map(_only, whole, inside, nearest)))))
        return Grouping(name=name, explanation=explanation, rows=_with_shares(rows))

    coco = [
        ("small (under 32²)", 0.0, 32.0**2),
        ("medium (32² to 96²)", 32.0**2, 96.0**2),
        ("large (over 96²)", 96.0**2, 1e10),
    ]
    ends = [0.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 1e5]
    names = [
        "under 32",
        "32 to 48",
        "48 to 64",
        "64 to 96",
        "96 to 128",
        "128 to 192",
        "192 and more",
    ]
    sizes = list(zip(names, ends, ends[1:], strict=False))
    return (
        Grouping(
            name="Size, COCO's ranges",
            explanation="By annotated area in square pixels, both ends included; a pose matched with nobody counts "
            "where its own extent falls. Medium and large are COCO's APM and APL.",
            rows=_with_shares(
                [
                    (
                        name,
                        average_precision(
                            [_in_area(*pair, low, high) for pair in zip(scenes, whole, strict=True)]
                        ),
                    )
                    for name, low, high in coco
                ]
            ),
        ),
        by(
            "Size",
            "Root of the annotated area, in pixels.",
            sizes,
            lambda scene: np.sqrt(np.maximum(scene.areas, 0)),
        ),
        by(
            "Crowding",
            "Largest overlap (intersection over union) of the person's box with another person's.",
            [
                ("none", 0.0, 1e-6),
                ("under 0.1", 1e-6, 0.1),
                ("0.1 to 0.3", 0.1, 0.3),
                ("0.3 to 0.5", 0.3, 0.5),
                ("0.5 and more", 0.5, 2.0),
            ],
            _crowding,
        ),
        by(
            "Hidden joints",
            "Share of the person's labeled joints that are marked hidden (v = 1).",
            [
                ("none", 0.0, 1e-6),
                ("under a quarter", 1e-6, 0.25),
                ("a quarter to a half", 0.25, 0.5),
                ("half and more", 0.5, 2.0),
            ],
            lambda scene: (
                (scene.visibility == 1).sum(axis=1) / np.maximum(scene.labeled.sum(axis=1), 1)
            ),
        ),
        by(
            "Cut by the picture's border",
            f"Whether the person's box comes within {BORDER_PX:g} pixels of it.",
            [("no", 0.0, 1.0), ("yes", 1.0, 2.0)],
            lambda scene: _is_cut(annotations, scene).astype(np.float64),
        ),
        by(
            "Labeled joints",
            "Share of the skeleton's joints that are labeled: half people, and people the annotator could not see.",
            [("up to a third", 0.0, 0.34), ("to two thirds", 0.34, 0.67), ("more", 0.67, 2.0)],
            lambda scene: scene.labeled.mean(axis=1),
        ),
    )


def _with_shares(rows: Sequence[tuple[str, AveragePrecision | None]]) -> tuple[GroupRow, ...]:
    lost = [0.0 if figure is None else figure.people * (1 - figure.ap) for _, figure in rows]
    total = max(sum(lost), np.spacing(1))
    return tuple(
        GroupRow(name=name, precision=figure, lost_share=float(part / total))
        for (name, figure), part in zip(rows, lost, strict=True)
    )


def _only(
    whole: MatchingInput, inside: Bool[np.ndarray, " people"], nearest: Int64[np.ndarray, " found"]
) -> MatchingInput:
    """Nobody but those inside is to be found; a pose nearest to somebody else who is, is not counted as false."""
    others = np.append(~inside & ~whole.is_ignored, False)  # -1, nobody, is the last
    return dataclasses.replace(
        whole, is_ignored=whole.is_ignored | ~inside, is_excused=others[nearest]
    )


def _in_area(scene: ImagePoses, whole: MatchingInput, low: float, high: float) -> MatchingInput:
    extent = np.ptp(scene.points_predicted, axis=1).prod(axis=1)
    return dataclasses.replace(
        whole,
        is_ignored=whole.is_ignored | (scene.areas < low) | (scene.areas > high),
        is_excused=(extent < low) | (extent > high),
    )


def _nearest_people(scene: ImagePoses) -> Int64[np.ndarray, " found"]:
    """For each pose the person whose labeled joints are nearest, in roots of the person's area; -1 for nobody."""
    counts = np.flatnonzero(scene.is_counted)
    if len(counts) == 0:
        return np.full(len(scene.scores), -1, np.int64)
    away = np.linalg.norm(scene.points_predicted[:, None] - scene.points_true[None, counts], axis=3)
    labeled = scene.labeled[counts]
    mean = (away * labeled).sum(axis=2) / labeled.sum(axis=1)
    size = np.sqrt(np.maximum(scene.areas[counts], np.spacing(1)))
    return counts[(mean / size).argmin(axis=1)].astype(np.int64)


def _crowding(scene: ImagePoses) -> Float64[np.ndarray, " people"]:
    """The largest overlap with another person's box; boxes around whole crowds are none."""
    boxes = scene.boxes.astype(np.float32)
    overlap = geometry.box_iou(boxes, boxes).astype(np.float64)
    overlap[:, scene.is_crowd] = 0.0
    np.fill_diagonal(overlap, 0.0)
    return overlap.max(axis=1, initial=0.0)


def _is_cut(annotations: CocoFile, scene: ImagePoses) -> Bool[np.ndarray, " people"]:
    image = annotations.images[scene.image_id]
    low, high = scene.boxes[:, :2], scene.boxes[:, 2:]
    cut = (low <= BORDER_PX) | (high >= np.array([image.width, image.height]) - BORDER_PX)
    return np.logical_or(cut[:, 0], cut[:, 1])
