"""Corrections of COCO documents that need no judgment: areas, boxes, counts; never a label."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from slimpose.fields import id_key
from slimpose.formats.coco_checks import area_fits
from slimpose.formats.coco_document import box_around
from slimpose.geometry import box_iou

_SAME_PLACE_IOU = 0.5
"""Least overlap of an outline's extent and the box; outlines of another image size are not used."""

_REASONS = {
    "keypoints": "annotations of a category with keypoints have none: 0, 0, 0 each",
    "num_keypoints": "num_keypoints are counted again",
    "bbox": "empty boxes of people with keypoints are around the keypoints, with a margin of 10 %",
    "extended": "boxes are extended to the keypoints that they cut off",
    "area": "areas that are missing, or do not fit the box, are those of the outline or the box",
}


def repaired(
    document: Any, *, extend: Mapping[int, Collection[int]] | None = None
) -> tuple[Any, list[str]]:
    """Return a copy of a COCO document with what is certain corrected, and a line per kind.

    Entries that are not understood stay as they are: reading the result reports them.

    Args:
        document: The JSON document of an annotation file.
        extend: The boxes to extend: annotation id to the joints (from 0) that they have to hold.
    """
    document = copy.deepcopy(document)
    counts: Counter[str] = Counter()
    to_extend = {id_key(number): joints for number, joints in (extend or {}).items()}
    if not isinstance(document, dict):
        return document, []
    joints = {
        id_key(one.get("id")): len(one["keypoints"])
        for one in _entries(document, "categories")
        if isinstance(one.get("keypoints"), list)
    }
    sizes = {id_key(one.get("id")): one for one in _entries(document, "images")}
    for entry in _entries(document, "annotations"):
        image = sizes.get(id_key(entry.get("image_id")), {})
        if count := joints.get(id_key(entry.get("category_id")), 0):
            _repair_keypoints(entry, image, count, to_extend, counts)
        _repair_area(entry, counts)
    return document, [f"{counts[kind]} {_REASONS[kind]}" for kind in _REASONS if counts[kind]]


def _entries(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    values = document.get(name)
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _repair_keypoints(
    entry: dict[str, Any],
    image: dict[str, Any],
    joints: int,
    extend: Mapping[str, Collection[int]],
    counts: Counter[str],
) -> None:
    if entry.get("keypoints") in (None, []):
        entry["keypoints"] = [0] * 3 * joints
        counts["keypoints"] += 1
    keypoints = _triples(entry["keypoints"], joints)
    if keypoints is None:
        return
    labeled = int((keypoints[:, 2] > 0).sum())
    if entry.get("num_keypoints") != labeled:
        counts["num_keypoints"] += "num_keypoints" in entry
        entry["num_keypoints"] = labeled
    width, height = image.get("width"), image.get("height")
    if not isinstance(width, int) or not isinstance(height, int):
        return
    box = _box(entry)
    if labeled and (box is None or box[2] <= 0 or box[3] <= 0):
        around = box_around(keypoints, width=width, height=height)
        if around is not None and around[2] > 0 and around[3] > 0:
            entry["bbox"] = [round(value, 3) for value in around]
            entry.pop("area", None)
            counts["bbox"] += 1
    elif box is not None and (to_hold := extend.get(id_key(entry.get("id")))):
        points = keypoints[list(to_hold), :2]
        low = np.maximum(np.minimum(box[:2], points.min(axis=0)), 0)
        high = np.minimum(np.maximum(box[:2] + box[2:], points.max(axis=0)), (width, height))
        entry["bbox"] = [round(float(value), 3) for value in (*low, *(high - low))]
        counts["extended"] += 1


def _repair_area(entry: dict[str, Any], counts: Counter[str]) -> None:
    box, area = _box(entry), entry.get("area")
    if box is None or box[2] <= 0 or box[3] <= 0:
        return
    known = 0.0 if isinstance(area, bool) or not isinstance(area, int | float) else float(area)
    if known > 0 and area_fits(known, float(box[2]), float(box[3])):
        return
    outline = _outline_area(entry.get("segmentation"), box)
    fits = area_fits(outline, float(box[2]), float(box[3]))
    entry["area"] = round(outline if fits else float(box[2] * box[3]), 3)
    counts["area"] += 1


def _box(entry: dict[str, Any]) -> np.ndarray | None:
    return _numbers(entry.get("bbox"), 4)


def _triples(value: object, joints: int) -> np.ndarray | None:
    numbers = _numbers(value, 3 * joints)
    return None if numbers is None else numbers.reshape(-1, 3)


def _numbers(value: object, count: int) -> np.ndarray | None:
    """A list of finite numbers as an array; None if it is not one."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return None
    try:
        array = np.array(value, np.float64)
    except OverflowError:
        return None
    return array if np.isfinite(array).all() else None


def _outline_area(segmentation: object, box: np.ndarray) -> float:
    """The area of polygons x, y, x, y, ... in a box; 0 for anything else, or of another place."""
    area, corners = 0.0, []
    for polygon in segmentation if isinstance(segmentation, list) else []:
        points = _numbers(polygon, len(polygon)) if isinstance(polygon, list) else None
        if points is None or len(points) % 2 or not len(points):
            return 0.0
        x, y = points.reshape(-1, 2).T
        area += abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
        corners += [[x.min(), y.min()], [x.max(), y.max()]]
    if not corners:
        return 0.0
    extent = np.concatenate([np.min(corners, axis=0), np.max(corners, axis=0)]).astype(np.float32)
    corner_box = np.concatenate([box[:2], box[:2] + box[2:]]).astype(np.float32)
    return area if box_iou(extent[None], corner_box[None])[0, 0] >= _SAME_PLACE_IOU else 0.0
