"""People cut out of labeled images, and backgrounds without people, for synthetic videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from slimpose.media.images import read_image
from slimpose.skeleton import COCO17

WIDTH, HEIGHT = 640, 480
"""Size of the backgrounds and the videos."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cutout:
    """A person: RGB, opacity 0..1, joints (17, 3: x, y, labeled) and box, in its own pixels."""

    rgb: np.ndarray
    alpha: np.ndarray
    joints: np.ndarray
    box: np.ndarray


def read_cutouts(annotations: Path, images: Path) -> tuple[list[Cutout], list[np.ndarray]]:
    """Return complete, unoccluded people and backgrounds from the images of a COCO keypoints file.

    People: at least 13 labeled joints, both ankles, upright, at least 170 pixels tall, inside the
    image, hardly overlapped by another box. Backgrounds: the largest 4:3 part of an image without
    people, if it is at least 320 pixels high.
    """
    document = json.loads(annotations.read_text(encoding="utf-8"))
    by_image: dict[int, list[dict]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    cutouts: list[Cutout] = []
    backgrounds: list[np.ndarray] = []
    for record in sorted(document["images"], key=lambda record: record["id"]):
        people = by_image.get(record["id"], [])
        boxes = np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        complete = [
            index
            for index, person in enumerate(people)
            if _is_complete(person, boxes, index, width=record["width"], height=record["height"])
        ]
        free = _free_part(boxes, width=record["width"], height=record["height"])
        if not complete and free is None:
            continue
        image = read_image(images / record["file_name"])
        for index in complete:
            joints = np.array(people[index]["keypoints"], np.float64).reshape(-1, 3)
            cutouts.append(segment_person(image, boxes[index], joints))
        if free is not None:
            x, y, width, height = free
            part = image[y : y + height, x : x + width]
            backgrounds.append(cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return cutouts, backgrounds


def _is_complete(person: dict, boxes: np.ndarray, index: int, *, width: int, height: int) -> bool:
    x1, y1, x2, y2 = boxes[index]
    if (
        person.get("iscrowd")
        or person["num_keypoints"] < 13
        or y2 - y1 < 170
        or min(person["keypoints"][47::3]) == 0
    ):
        return False
    shoulders, hips, ankles = (
        np.mean(person["keypoints"][first : first + 6 : 3]) for first in (16, 34, 46)
    )
    if x2 - x1 > 0.6 * (y2 - y1) or not shoulders < hips < ankles:
        return False
    if x1 < 2 or y1 < 2 or x2 > width - 2 or y2 > height - 2:
        return False
    shared = np.clip(
        np.minimum(boxes[:, 2:], (x2, y2)) - np.maximum(boxes[:, :2], (x1, y1)), 0, None
    ).prod(axis=1)
    shared[index] = 0
    return bool(shared.max() < 0.05 * (x2 - x1) * (y2 - y1))


def _free_part(boxes: np.ndarray, *, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The largest 4:3 part (x, y, width, height) without a box, on a grid of 20 pixels."""
    taken = np.zeros((height + 1, width + 1), np.int64)
    for x1, y1, x2, y2 in boxes:
        taken[max(0, int(y1) - 4) + 1 : int(y2) + 6, max(0, int(x1) - 4) + 1 : int(x2) + 6] = 1
    total = taken.cumsum(axis=0).cumsum(axis=1)
    for rows in range(height, 319, -20):
        columns = rows * 4 // 3
        for y in range(0, height - rows + 1, 20):
            for x in range(0, width - columns + 1, 20):
                y2, x2 = y + rows, x + columns
                if total[y2, x2] - total[y, x2] - total[y2, x] + total[y, x] == 0:
                    return x, y, columns, rows
    return None


def segment_person(image: np.ndarray, box: np.ndarray, joints: np.ndarray) -> Cutout:
    """Return the person, segmented by GrabCut from the joints, with a soft edge.

    Source:
        Rother et al., "GrabCut", SIGGRAPH 2004 (OpenCV's).
    """
    margin = 0.06 * (box[3] - box[1])
    x1, y1 = np.maximum(0, np.floor(box[:2] - margin)).astype(int)
    x2, y2 = np.minimum((image.shape[1], image.shape[0]), np.ceil(box[2:] + margin)).astype(int)
    part = np.ascontiguousarray(image[y1:y2, x1:x2])
    moved = joints.copy()
    moved[:, :2] -= (x1, y1)
    inner = box - np.array([x1, y1, x1, y1])
    size = float(inner[3] - inner[1])
    mask = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    low, high = np.floor(inner[:2] - 2).astype(int), np.ceil(inner[2:] + 2).astype(int)
    mask[max(0, low[1]) : high[1], max(0, low[0]) : high[0]] = cv2.GC_PR_BGD
    mask[_body(part.shape[:2], moved, 0.15 * size) & (mask == cv2.GC_PR_BGD)] = cv2.GC_PR_FGD
    mask[_body(part.shape[:2], moved, 0.045 * size)] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(
        part, mask, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK
    )
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    alpha = cv2.GaussianBlur(
        cv2.erode(person, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 1.2
    )
    return Cutout(rgb=part, alpha=alpha, joints=moved, box=inner)


def _body(shape: tuple[int, int], joints: np.ndarray, width_px: float) -> np.ndarray:
    """A mask of the body: limbs of this width, the torso filled, a disc for the head."""
    drawn = np.zeros(shape, np.uint8)
    points = {
        name: joint[:2] for name, joint in zip(COCO17.joints, joints, strict=True) if joint[2] > 0
    }
    for a, b in COCO17.limbs:
        if a in points and b in points:
            cv2.line(drawn, _pixel(points[a]), _pixel(points[b]), 1, max(1, round(width_px)))
    corners = [
        points[name]
        for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
        if name in points
    ]
    if len(corners) >= 3:
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.array(corners, np.float32)).astype(np.int32), 1)
    head = [points[name] for name in COCO17.joints[:5] if name in points]
    if head:
        cv2.circle(
            drawn, _pixel(np.mean(head, axis=0)), max(1, round(0.9 * width_px)), 1, cv2.FILLED
        )
    return drawn.astype(bool)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
