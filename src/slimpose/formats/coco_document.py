"""Write labels as a COCO document: the dialect that ``formats.coco`` reads back exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from slimpose.formats.coco import CocoFile, CocoPerson
from slimpose.skeleton import COCO17, Skeleton
from slimpose.skeleton_parts import with_derived_parts

KEYPOINT_BOX_MARGIN = 0.1
"""How much a box around keypoints is extended on each side, as a share of its longer side.

Boxes of people's outlines are about that much larger than their keypoints.
"""
_DECIMALS = 3


def to_document(file: CocoFile) -> dict[str, Any]:
    """Return a file's images, people and skeleton as a COCO document for ``json.dump``.

    Coordinates are rounded to 1/1000 pixel. Fields that ``CocoPerson`` does not have, such as
    segmentation, are not in it.
    """
    images = [
        {"id": one.id, "file_name": one.file_name, "height": one.height, "width": one.width}
        for one in file.images.values()
    ]
    return {
        "images": images,
        "annotations": [_annotation(person, file.category_id) for person in file.people],
        "categories": [category_entry(file.skeleton, category_id=file.category_id)],
    }


def category_entry(skeleton: Skeleton, *, category_id: int = 1) -> dict[str, Any]:
    """Return the entry of ``categories`` that describes a skeleton."""
    number = {name: index for index, name in enumerate(skeleton.joints, start=1)}
    name = "person" if skeleton.joints == COCO17.joints else skeleton.name
    entry: dict[str, Any] = {
        "id": category_id,
        "name": name,
        "supercategory": "",
        "keypoints": list(skeleton.joints),
        "skeleton": [[number[a], number[b]] for a, b in skeleton.limbs],
    }
    if skeleton.flip_pairs is not None:
        entry["flip_pairs"] = [[number[a], number[b]] for a, b in skeleton.flip_pairs]
    if skeleton.sigmas and skeleton.sigmas != COCO17.sigmas:
        entry["sigmas"] = list(skeleton.sigmas)
        entry["sigma_source"] = skeleton.sigma_source
    derived = _as_derived(skeleton)
    for part in ("upper_body", "trunk", "colors"):
        if (given := getattr(skeleton, part)) and given != getattr(derived, part):
            entry[part] = [list(one) if part == "colors" else one for one in given]
    return entry


def _as_derived(skeleton: Skeleton) -> Skeleton:
    """The skeleton with the parts that reading gives it if the file says none."""
    if skeleton.joints == COCO17.joints:
        return COCO17
    return with_derived_parts(dataclasses.replace(skeleton, upper_body=(), trunk=(), colors=()))


def annotation_entry(
    *,
    annotation_id: int,
    image_id: int,
    keypoints: Float[np.ndarray, "joints 3"],
    box_xywh: Sequence[float],
    category_id: int = 1,
) -> dict[str, Any]:
    """Return an entry of ``annotations``: keypoints x, y, v, and a box x, y, width, height."""
    box = [round(float(value), _DECIMALS) for value in box_xywh]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": round(box[2] * box[3], _DECIMALS),
        "iscrowd": 0,
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": _flat(keypoints),
        "segmentation": [],
    }


def box_around(
    keypoints: Float[np.ndarray, "joints 3"], *, width: int, height: int
) -> list[float] | None:
    """Return x, y, width, height of a box around the labeled keypoints; None if there are none.

    It is extended by ``KEYPOINT_BOX_MARGIN`` (at least one pixel) and ends at the image's border.
    """
    labeled = keypoints[keypoints[:, 2] > 0, :2]
    if not len(labeled):
        return None
    low, high = labeled.min(axis=0), labeled.max(axis=0)
    margin = max(1.0, KEYPOINT_BOX_MARGIN * float((high - low).max()))
    x1, y1 = np.clip(low - margin, 0, None)
    x2, y2 = np.minimum(high + margin, (width, height))
    return [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]


def _annotation(person: CocoPerson, category_id: int) -> dict[str, Any]:
    joints = np.zeros((0, 3)) if person.keypoints is None else person.keypoints
    x1, y1, x2, y2 = person.box_image.tolist()
    entry = annotation_entry(
        annotation_id=person.id,
        image_id=person.image_id,
        keypoints=joints,
        box_xywh=(x1, y1, x2 - x1, y2 - y1),
        category_id=category_id,
    )
    entry |= {"area": round(person.area, _DECIMALS), "iscrowd": int(person.is_crowd)}
    if person.joint_weights is not None and (person.joint_weights != 1).any():
        entry["weights"] = [round(float(weight), 4) for weight in person.joint_weights]
    if person.teacher_keypoints is not None:
        entry["teacher_keypoints"] = [round(float(v), 4) for v in person.teacher_keypoints.ravel()]
    if not math.isnan(person.teacher_agreement):
        entry["teacher_agreement"] = person.teacher_agreement
    if person.source:
        entry["source"] = person.source
    return entry


def _flat(keypoints: np.ndarray) -> list[float | int]:
    """Keypoints as COCO's flat list; absent ones are 0, 0, 0."""
    flat: list[float | int] = []
    for x, y, v in keypoints.tolist():
        flat += [round(x, _DECIMALS), round(y, _DECIMALS), int(v)] if v > 0 else [0, 0, 0]
    return flat
