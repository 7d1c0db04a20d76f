"""JSON lines: one line a frame, for pipes and for files that other programs follow."""

from __future__ import annotations

import json

from slimpose.formats.results import people
from slimpose.poses import NOT_TRACKED, Poses


def json_line(poses: Poses, *, source: str, camera: int, frame: int, timestamp_s: float) -> bytes:
    """Return one frame as one line of JSON, also where nobody is on it.

    Its keys are source, camera (0-based), frame, timestamp_s and people: for each, track_id (null
    where nobody numbers them), bbox (x, y, width, height), keypoints (x, y, score a joint) and
    score; image pixels.
    """
    found = [
        {"track_id": int(track) if track != NOT_TRACKED else None, **person}
        for person, track in zip(people(poses), poses.ids, strict=True)
    ]
    document = {
        "source": source,
        "camera": camera,
        "frame": frame,
        "timestamp_s": round(timestamp_s, 6),
        "people": found,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
