"""COCO keypoint results (``--json``) with file name, frame and, in videos, track id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.poses import NOT_TRACKED, Poses

PERSON_CATEGORY = 1


def image_number(file: Path) -> int | None:
    """Return the COCO image id in a file's name; None if the name is not a number.

    >>> image_number(Path("000000000139.jpg"))
    139
    """
    return int(file.stem) if file.stem.isdecimal() else None


def records(
    poses: Poses, *, file_name: str, frame: int, image_id: int | None = None
) -> list[dict[str, Any]]:
    """Return one record per person, in image pixels.

    ``bbox`` is x, y, width, height; ``keypoints`` is x, y, score per joint. COCO's own tools need
    ``image_id``. Tracked people have a ``track_id`` too.
    """
    image = (
        {"file_name": file_name}
        if image_id is None
        else {"file_name": file_name, "image_id": image_id}
    )
    result: list[dict[str, Any]] = []
    for person, track in zip(people_as_json(poses), poses.ids, strict=True):
        record = {**image, "frame": frame, "category_id": PERSON_CATEGORY, **person}
        if track != NOT_TRACKED:
            record["track_id"] = int(track)
        result.append(record)
    return result


def people_as_json(poses: Poses) -> list[dict[str, Any]]:
    """Return bbox, keypoints and score of each person, rounded to the precision that matters."""
    boxes = geometry.boxes_to_xywh(poses.boxes_image)
    triples = np.concatenate([poses.points_image, poses.scores[..., None]], axis=2)
    return [
        {
            "bbox": [round(float(value), 2) for value in box],
            "keypoints": [round(float(value), 3) for value in keypoints.ravel()],
            "score": round(float(score), 5),
        }
        for box, keypoints, score in zip(boxes, triples, poses.person_scores, strict=True)
    ]
