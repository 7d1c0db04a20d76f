"""JSON lines: one line per frame, for pipes and for files that other programs follow."""

from __future__ import annotations

import json

from slimpose.formats.results import people_as_json
from slimpose.poses import NOT_TRACKED, Poses


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
