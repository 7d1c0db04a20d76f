"""Accuracy of a person detector: box AP, and recall and false positives at the score threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, Image, PersonScores, Size
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats.coco import CocoFile
from slimpose.geometry import CanvasFit
from slimpose.media.annotated_image import read_annotated_image
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.detector import NMS_IOU_THRESHOLD, decode_boxes

TALL_PX = 96.0
MIN_SCORE = 0.005
"""Boxes that score less have no part in AP."""
_MATCH_IOU = 0.5
DetectImages = Callable[[Crops], tuple[np.ndarray, np.ndarray]]
"""uint8 canvases (n, H, W, 3) to boxes (n, k, 4) in canvas pixels and scores (n, k)."""
FindBoxes = Callable[[Image], tuple[Boxes, PersonScores]]
"""An image to its people's boxes, best first, and scores over MIN_SCORE: a ``Detector``."""


def canvas_detector(
    detect: DetectImages,
    *,
    canvas: Size,
    fit: CanvasFit,
    nms_iou_threshold: float = NMS_IOU_THRESHOLD,
) -> FindBoxes:
    """Return a function of canvases, such as a network in training, as one of images.

    ``canvas`` is its input size, ``fit`` how an image fills it. Of two boxes that overlap more than
    ``nms_iou_threshold`` the better one is kept.
    """

    def find(image: Image) -> tuple[Boxes, PersonScores]:
        fitted, to_canvas = fit_canvas(image, canvas, fit)
        boxes, scores = (output[0] for output in detect(fitted[None]))
        return decode_boxes(
            boxes, scores, to_canvas, image, threshold=MIN_SCORE, iou_threshold=nms_iou_threshold
        )

    return find


def detected_boxes(
    annotations: CocoFile,
    image_folder: Path,
    find: FindBoxes,
    *,
    image_ids: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, ScoredBoxes]:
    """Return a detector's boxes by image id, of all images by default.

    ``on_progress`` is called with (images done, all images).

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If an image has another size than the file declares.
    """
    found: dict[int, ScoredBoxes] = {}
    selected = list(annotations.images) if image_ids is None else image_ids
    for done, image_id in enumerate(selected, start=1):
        boxes, scores = find(read_annotated_image(annotations, image_folder, image_id))
        found[image_id] = ScoredBoxes(boxes_image=boxes, scores=scores)
        on_progress(done, len(selected))
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

    The recall is of people taller than TALL_PX; each box can match one person. A box is a false
    positive if it matches no person of any height and does not lie mostly inside a crowd's box.
    """
    matched_tall = tall = false_positives = 0
    for image_id, people in annotations.people_by_image().items():
        true_boxes, crowds = (
            np.array(
                [one.box_image for one in people if one.is_crowd == is_crowd], np.float32
            ).reshape(-1, 4)
            for is_crowd in (False, True)
        )
        is_tall = true_boxes[:, 3] - true_boxes[:, 1] > TALL_PX
        tall += int(is_tall.sum())
        if image_id not in boxes:
            continue
        detected = boxes[image_id].above_score(threshold)
        best_first = detected.boxes_image[np.argsort(-detected.scores, kind="stable")]
        matched = _match(best_first, true_boxes)
        is_matched = np.isin(np.arange(len(true_boxes)), matched[matched >= 0])
        matched_tall += int((is_tall & is_matched).sum())
        false_positives += int(((matched < 0) & ~_inside_crowd(best_first, crowds)).sum())
    return {
        "recall_tall": matched_tall / max(1, tall),
        "false_per_image": false_positives / max(1, len(annotations.images)),
    }


def detector_figures(
    annotations: CocoFile, boxes: dict[int, ScoredBoxes], *, threshold: float
) -> dict[str, float]:
    """Return box AP, recall and false positives at a score threshold, and what they are about."""
    return {
        **box_ap(annotations, boxes),
        **recall_and_false_positives(annotations, boxes, threshold=threshold),
        "score_threshold": threshold,
        "images": len(annotations.images),
        "people": sum(not person.is_crowd for person in annotations.people),
    }


def _match(boxes: Float32[np.ndarray, "a 4"], true_boxes: Float32[np.ndarray, "b 4"]) -> np.ndarray:
    """For each box, best first, the unmatched true box of the highest IoU, or -1."""
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
