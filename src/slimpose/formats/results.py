"""COCO keypoint results (``--json``), and JSON lines (``--jsonl``).

COCO results have file name, frame and, in videos, track id. JSON lines, one per frame, are for
pipes and for files that other programs follow.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.messages import DataWarning
from slimpose.poses import NOT_TRACKED, Poses

PERSON_CATEGORY = 1


def image_number(file: Path) -> int | None:
    """Return the COCO image id in a file's name; None if the name is not a number.

    >>> image_number(Path("000000000139.jpg"))
    139
    """
    stem = file.stem
    return int(stem) if stem.isascii() and stem.isdecimal() and len(stem) <= 15 else None


def unique_image_numbers(files: Sequence[Path]) -> dict[Path, int]:
    """Return the COCO image ids in the names of files; a DataWarning names those that are shared.

    1.jpg and 0001.jpg have one number: records with it would mix the people of two images.
    """
    by_number: dict[int, list[Path]] = {}
    for file in files:
        if (number := image_number(file)) is not None:
            by_number.setdefault(number, []).append(file)
    shared = [same for same in by_number.values() if len(same) > 1]
    if shared:
        warnings.warn(
            f"{sum(map(len, shared))} inputs share their numbers, such as {shared[0][0]} and "
            f"{shared[0][1]}; their records have no image_id",
            DataWarning,
            stacklevel=2,
        )
    return {same[0]: number for number, same in by_number.items() if len(same) == 1}


def records(
    poses: Poses, *, file_name: str, frame: int, image_id: int | None = None
) -> list[dict[str, Any]]:
    """Return one record per person, in image pixels.

    ``bbox`` is x, y, width, height; ``keypoints`` is x, y, score per joint. COCO's own tools need
    ``image_id``. Tracked people have a ``track_id`` too.
    """
    image: dict[str, Any] = {"file_name": file_name}
    if image_id is not None:
        image["image_id"] = image_id
    result: list[dict[str, Any]] = []
    for person, track in zip(people_as_json(poses), poses.ids, strict=True):
        record = {**image, "frame": frame, "category_id": PERSON_CATEGORY, **person}
        if track != NOT_TRACKED:
            record["track_id"] = int(track)
        result.append(record)
    return result


def json_line(poses: Poses, *, source: str, camera: int, frame: int, timestamp_s: float) -> bytes:
    """Return one frame, with or without people, as one line of JSON.

    Its keys are source, camera (0-based), frame, timestamp_s and people: for each, track_id (null
    without tracking), bbox (x, y, width, height), keypoints (x, y, score per joint) and score; in
    image pixels.
    """
    people = [
        {"track_id": int(track) if track != NOT_TRACKED else None, **person}
        for person, track in zip(people_as_json(poses), poses.ids, strict=True)
    ]
    document = {
        "source": source,
        "camera": camera,
        "frame": frame,
        "timestamp_s": round(timestamp_s, 6),
        "people": people,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


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
