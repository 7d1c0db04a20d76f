"""What ``slimpose predict --json`` writes: COCO keypoint results with the file's name and the frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.poses import Poses

PERSON_CATEGORY = 1


def records(poses: Poses, *, file_name: str, frame: int) -> list[dict[str, Any]]:
    """Return one record a person: bbox x, y, width, height; keypoints x, y, score a joint; image pixels."""
    boxes = geometry.boxes_to_xywh(poses.boxes_image)
    triples = np.concatenate([poses.points_image, poses.scores[..., None]], axis=2)
    return [
        {
            "file_name": file_name,
            "frame": frame,
            "category_id": PERSON_CATEGORY,
            "bbox": [round(float(value), 2) for value in box],
            "keypoints": [round(float(value), 3) for value in keypoints.ravel()],
            "score": round(float(score), 5),
        }
        for box, keypoints, score in zip(boxes, triples, poses.person_scores, strict=True)
    ]
