"""What ``--json`` writes: COCO keypoint results with the file's name, the frame and, in videos, the track."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.poses import NOT_TRACKED, Poses

PERSON_CATEGORY = 1


def image_number(file: Path) -> int | None:
    """Return a file's COCO image id, which is its name (000000000139.jpg is image 139); None if that is no number."""
    return int(file.stem) if file.stem.isdecimal() else None


def records(
    poses: Poses, *, file_name: str, frame: int, image_id: int | None = None
) -> list[dict[str, Any]]:
    """Return one record a person: bbox x, y, width, height; keypoints x, y, score a joint; image pixels.

    COCO's own tools want ``image_id``. People whom a tracker numbered have a ``track_id`` too.
    """
    image = (
        {"file_name": file_name}
        if image_id is None
        else {"file_name": file_name, "image_id": image_id}
    )
    found: list[dict[str, Any]] = []
    for person, track in zip(people(poses), poses.ids, strict=True):
        record = {**image, "frame": frame, "category_id": PERSON_CATEGORY, **person}
        if track != NOT_TRACKED:
            record["track_id"] = int(track)
        found.append(record)
    return found


def people(poses: Poses) -> list[dict[str, Any]]:
    """Return bbox, keypoints and score of each person, rounded to what can be seen."""
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
