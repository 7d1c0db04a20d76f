"""CSV for data frames and spreadsheets: one row per joint of each person in each frame."""

from __future__ import annotations

import csv
import io

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
        prefix = (
            source,
            camera,
            frame,
            f"{timestamp_s:.6f}",
            person,
            int(track) if track != NOT_TRACKED else "",
        )
        for row, joint in enumerate(poses.skeleton.joints):
            x, y = poses.points_image[person, row]
            (xx, xy), (_, yy) = poses.covariances_image[person, row]
            numbers = (
                f"{x:.3f}",
                f"{y:.3f}",
                f"{poses.scores[person, row]:.4f}",
                f"{xx:.3f}",
                f"{yy:.3f}",
                f"{xy:.3f}",
            )
            writer.writerow((*prefix, joint, *numbers))
    return text.getvalue().encode(errors="backslashreplace")
