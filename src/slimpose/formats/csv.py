"""CSV for data frames and spreadsheets: one row per joint of each person in each frame."""

from __future__ import annotations

import csv
import io

from slimpose.formats.files import as_utf8
from slimpose.poses import NOT_TRACKED, Poses

COLUMNS = (
    "source",
    "camera",
    "frame",
    "timestamp_s",
    "person",
    "track_id",
    "joint",
    "x",
    "y",
    "score",
    "variance_x",
    "variance_y",
    "covariance_xy",
)
"""x and y in image pixels, variances in square pixels; track_id is empty without tracking."""


def header() -> bytes:
    """Return the header line."""
    return (",".join(COLUMNS) + "\n").encode()


def rows(poses: Poses, *, source: str, camera: int, frame: int, timestamp_s: float) -> bytes:
    """Return a frame's rows: for each person, every joint in the skeleton's order.

    Bytes of the source's name that are not UTF-8 are escaped with backslashes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for person, track in enumerate(poses.ids):
        track_id = int(track) if track != NOT_TRACKED else ""
        prefix = (source, camera, frame, f"{timestamp_s:.6f}", person, track_id)
        for row, joint in enumerate(poses.skeleton.joints):
            x, y = poses.points_image[person, row]
            (xx, xy), (_, yy) = poses.covariances_image[person, row]
            variances = (f"{value:.3f}" for value in (xx, yy, xy))
            score = f"{poses.scores[person, row]:.4f}"
            writer.writerow((*prefix, joint, f"{x:.3f}", f"{y:.3f}", score, *variances))
    return as_utf8(text.getvalue())
