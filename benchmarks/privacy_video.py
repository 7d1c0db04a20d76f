"""Measure how often hiding lets a face be seen in videos in which people cross and pass a pillar.

    python benchmarks/privacy_video.py /work/shared/data/dev/person_keypoints.json \
        /work/shared/data/dev/images --seeds 0 --seeds 1

The videos of ``scene.py``: real people on made paths, 12.5 frames a second. A face can be seen
where nose and eyes are labeled, not covered by someone nearer, and inside the image; it flashes
where one of them is not filled. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import machine
import numpy as np
import scene
from cutouts import read_cutouts

import slimpose
from slimpose.cli.arguments import run
from slimpose.hide import FILL_RGB, Hider, What
from slimpose.runtime.follower import Follower

_FACE_ROWS = [0, 1, 2]


def main(
    annotations: Path,
    images: Path,
    /,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    what: str = "heads",
    frames: int = 0,
    threads: int = 1,
) -> None:
    """Measure flashes of faces.

    Args:
        annotations: COCO keypoint annotations, for the people in the videos.
        images: Folder of their images.
        seeds: One video each.
        what: What is hidden: faces, heads, people.
        frames: Use this many frames of each video only.
        threads: CPU threads.
    """
    cutouts, backgrounds = read_cutouts(annotations, images)
    pipeline = slimpose.load(threads=threads)
    report = []
    for seed in seeds:
        video = scene.crossings(cutouts, backgrounds[seed % len(backgrounds)], seed)
        report.append({"seed": seed, **measure(video, pipeline, cast(What, what), frames)})
        print(report[-1], flush=True)
    print(json.dumps({"videos": report, "what": what, **machine.about()}))


def measure(
    video: scene.SceneVideo, pipeline: slimpose.Pipeline, what: What, limit: int
) -> dict[str, object]:
    """Return the number of faces that could be seen, and of those that hiding left visible."""
    follower, hider = Follower(pipeline, find_everyone=True), Hider(what)
    faces = seen = frames_with_flash = 0
    filled = 0.0
    flashes: list[str] = []
    for index, (time_s, image, truths) in enumerate(video.frames()):
        if limit and index >= limit:
            break
        follower.step([slimpose.Frame(image=image, timestamp_s=time_s)])
        hidden = hider(image, follower.everyone[0])
        is_filled = (hidden == np.array(FILL_RGB, np.uint8)).all(axis=2)
        filled += float(is_filled.mean())
        seen_before = seen
        for truth in truths:
            if not truth.joints_shown[_FACE_ROWS].all():
                continue
            faces += 1
            x, y = np.rint(truth.joints_image[_FACE_ROWS, :2]).astype(int).T
            if not is_filled[y, x].all():
                seen += 1
                flashes.append(f"{index}:{truth.role}")
        frames_with_flash += seen > seen_before
    return {
        "frames": hider.frames,
        "faces": faces,
        "faces_seen": seen,
        "frames_with_flash": frames_with_flash,
        "pixels_filled": round(filled / max(1, hider.frames), 4),
        "frames_without_pose": hider.frames_without_pose,
        "flashes": flashes[:40],
    }


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], prog="python benchmarks/privacy_video.py"))
