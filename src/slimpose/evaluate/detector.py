"""Person-box AP, and what the runtime's own threshold finds and invents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from slimpose import geometry
from slimpose.arrays import Crops, Size
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats.coco import CocoFile
from slimpose.media.images import read_image
from slimpose.runtime.detector import NMS_IOU_THRESHOLD, decode_boxes
from slimpose.runtime.letterbox import letterbox
from slimpose.runtime.session import Model

TALL_PX = 96.0
_LEAST_SCORE = 0.005
_MATCH_IOU = 0.5
DetectImages = Callable[[Crops], tuple[np.ndarray, np.ndarray]]
"""uint8 canvases (n, H, W, 3) to boxes (n, k, 4) in canvas pixels and scores (n, k)."""


def detect_images(model: Model) -> DetectImages:
    """Return a detector as what ``detected_boxes`` looks with."""

    def detect(canvases: Crops) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = model.run(canvases, ("boxes", "scores"))
        return boxes, scores

    return detect


def detected_boxes(
    annotations: CocoFile,
    image_folder: Path,
    detect: DetectImages,
    *,
    canvas: Size,
    nms_iou_threshold: float = NMS_IOU_THRESHOLD,
    image_ids: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, ScoredBoxes]:
    """Return what a detector finds in every image of the file, or those of ``image_ids``, by image id.

    Raises:
        ImageError: If a picture is missing or broken.
    """
    found: dict[int, ScoredBoxes] = {}
    looked_at = list(annotations.images) if image_ids is None else image_ids
    for done, image_id in enumerate(looked_at, start=1):
        image = read_image(image_folder / annotations.images[image_id].file_name)
        picture, to_canvas = letterbox(image, canvas)
        boxes, scores = (output[0] for output in detect(picture[None]))
        boxes, scores = decode_boxes(
            boxes, scores, to_canvas, image, threshold=_LEAST_SCORE, iou_threshold=nms_iou_threshold
        )
        found[image_id] = ScoredBoxes(boxes_image=boxes, scores=scores)
        on_progress(done, len(looked_at))
    return found


def box_records(annotations: CocoFile, boxes: dict[int, ScoredBoxes]) -> list[dict[str, Any]]:
    """Return boxes as COCO result records."""
    return [
        {
            "image_id": image_id,
            "category_id": annotations.category_id,
            "bbox": [round(float(value), 2) for value in xywh],
            "score": float(score),
        }
        for image_id, found in boxes.items()
        for xywh, score in zip(geometry.boxes_to_xywh(found.boxes_image), found.scores, strict=True)
    ]


def box_ap(annotations: CocoFile, boxes: dict[int, ScoredBoxes]) -> dict[str, float]:
    """Return person-box AP over all images of the file."""
    return average_precision(annotations, box_records(annotations, boxes), kind="bbox")


def recall_and_false_positives(
    annotations: CocoFile, boxes: dict[int, ScoredBoxes], *, threshold: float
) -> dict[str, float]:
    """Return ``recall_tall`` and ``false_per_image`` of the boxes that score over ``threshold``.

    People taller than TALL_PX are to be found; each box may find one. A box that finds nobody of
    any height, and lies not mostly inside a crowd's box, is false.
    """
    found_tall = tall = false = 0
    for image_id, people in annotations.people_by_image().items():
        true_boxes = np.array(
            [person.box_image for person in people if not person.is_crowd], np.float32
        ).reshape(-1, 4)
        crowds = np.array(
            [person.box_image for person in people if person.is_crowd], np.float32
        ).reshape(-1, 4)
        is_tall = true_boxes[:, 3] - true_boxes[:, 1] > TALL_PX
        tall += int(is_tall.sum())
        if image_id not in boxes:
            continue
        mine = boxes[image_id].above_score(threshold)
        best_first = mine.boxes_image[np.argsort(-mine.scores, kind="stable")]
        matched = _match(best_first, true_boxes)
        found_tall += int(
            (is_tall & np.isin(np.arange(len(true_boxes)), matched[matched >= 0])).sum()
        )
        false += int(((matched < 0) & ~_inside_crowd(best_first, crowds)).sum())
    return {
        "recall_tall": found_tall / max(1, tall),
        "false_per_image": false / max(1, len(annotations.images)),
    }


def _match(boxes: Float32[np.ndarray, "a 4"], true_boxes: Float32[np.ndarray, "b 4"]) -> np.ndarray:
    """For each box, best first, the free true box it overlaps most, or -1."""
    matched = np.full(len(boxes), -1)
    if len(true_boxes) == 0:
        return matched
    overlap = geometry.box_iou(boxes, true_boxes)
    for row in range(len(boxes)):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= _MATCH_IOU:
            matched[row] = best
            overlap[:, best] = 0
    return matched


def _inside_crowd(
    boxes: Float32[np.ndarray, "a 4"], crowds: Float32[np.ndarray, "b 4"]
) -> Bool[np.ndarray, " a"]:
    if len(crowds) == 0 or len(boxes) == 0:
        return np.zeros(len(boxes), bool)
    shared = geometry.box_intersections(boxes, crowds)
    return (shared / np.maximum(geometry.box_areas(boxes)[:, None], 1e-6)).max(axis=1) > _MATCH_IOU
