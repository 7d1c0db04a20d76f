"""``slimpose new-project``."""

from __future__ import annotations

import os
from pathlib import Path

from slimpose.formats.files import as_utf8
from slimpose.labels.interchange.kinds import read_labels
from slimpose.labels.new_project import write_project
from slimpose.skeleton import COCO17, Skeleton
from slimpose.skeleton_parts import with_derived_parts


def new_project(
    folder: Path,
    /,
    keypoints: tuple[str, ...] = (),
    labels: Path | None = None,
    frames: Path | None = None,
) -> int:
    """Write a folder to train your own keypoints in: recipe, skeleton and the commands to run.

    Args:
        folder: The project's folder; its name is the name of what is found.
        keypoints: Names of the keypoints, such as nose left_ear right_ear tail; sides in the names
            become mirror pairs.
        labels: Labels to take the keypoints from, of any tool that slimpose convert reads.
        frames: Folder to write the frames to that SLEAP labels in videos, with --labels.
    """
    if bool(keypoints) == (labels is not None):
        raise ValueError("expected either --keypoints NAME ... or --labels FILE")
    first = "your-labels"
    if labels is not None:
        skeleton = read_labels(labels, frames=frames).file.skeleton
        first = os.path.relpath(labels, folder)
    elif keypoints == COCO17.joints:
        skeleton = COCO17
    else:
        skeleton = with_derived_parts(
            Skeleton(name=as_utf8(folder.name).decode(), joints=keypoints)
        )
    for path in write_project(folder, skeleton, first):
        print(f"written: {path}")
    return 0
