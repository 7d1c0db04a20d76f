"""Annotated people on a grid of well separated joints, and predicted poses of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.formats import coco
from slimpose.skeleton import COCO17

AREA = 10_000.0
JOINTS = {name: number for number, name in enumerate(COCO17.joints)}
GRID = np.array([[60.0 * (joint % 4), 60.0 * (joint // 4)] for joint in range(17)])
"""Joints so far apart that none is similar to another.

exp(-60^2 / (2 (0.214 * 100)^2)) is 0.02 for the joint of the largest sigma.
"""

Keypoints = np.ndarray
Record = dict[str, Any]


def person(x: float, y: float = 100.0, *, visibility: int = 2) -> Keypoints:
    """Return the keypoints (17, 3) of a person whose first joint is at x, y."""
    return np.concatenate([GRID + np.array([x, y]), np.full((17, 1), float(visibility))], axis=1)


ONE, OTHER = person(100), person(1000)


def truth(
    *people: Keypoints,
    areas: Sequence[float] = (),
    joints: Sequence[str] = COCO17.joints,
    file_name: str = "a.png",
    crowds: Sequence[int] = (),
) -> coco.CocoFile:
    """Return one image of 4000x1000 (width x height) with annotations 11, 12, ... of people."""
    annotations = []
    for number, keypoints in enumerate(people):
        low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
        annotations.append(
            {
                "id": 11 + number,
                "image_id": 5,
                "category_id": 1,
                "bbox": [*low, *(high - low + 1)],
                "iscrowd": int(number in crowds),
                "keypoints": keypoints.ravel().tolist(),
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(joints), "skeleton": []}
    if len(joints) == len(COCO17.sigmas):
        category["sigmas"] = list(COCO17.sigmas)
    document = {
        "images": [{"id": 5, "file_name": file_name, "height": 1000, "width": 4000}],
        "categories": [category],
        "annotations": annotations,
    }
    file = coco.parse(document, Path("truth.json"), keypoints=True, areas=False)
    people_of = [
        dataclasses.replace(person, area=areas[number] if areas else AREA)
        for number, person in enumerate(file.people)
    ]
    return dataclasses.replace(file, people=tuple(people_of))


def pose(keypoints: Keypoints, *, score: float = 0.9) -> Record:
    """Return the result record of a predicted pose."""
    triples = np.concatenate([keypoints[:, :2], np.full((len(keypoints), 1), 0.8)], axis=1)
    return {"image_id": 5, "category_id": 1, "keypoints": triples.ravel().tolist(), "score": score}


def distance_px(joint: str, similarity: float) -> float:
    """Return the distance in pixels at which a joint of these people has this similarity."""
    sigma = COCO17.sigmas[JOINTS[joint]]
    return math.sqrt(-2 * math.log(similarity)) * 2 * sigma * math.sqrt(AREA)


def moved(keypoints: Keypoints, **to: np.ndarray | Sequence[float]) -> Keypoints:
    """Return the keypoints with some joints moved to x, y."""
    result = keypoints.copy()
    for joint, point in to.items():
        result[JOINTS[joint], :2] = point
    return result


def at(keypoints: Keypoints, joint: str, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Return the position of a joint, plus an offset in pixels."""
    return keypoints[JOINTS[joint], :2] + np.array([x, y])
