"""Detected boxes of an evaluation: those too narrow for the runtime are left out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from coco_documents import coco_document
from slimpose.arrays import Crops, Size
from slimpose.evaluate.detector import canvas_detector, detected_boxes
from slimpose.formats import coco


def test_boxes_that_are_too_narrow_are_dropped(tmp_path: Path) -> None:
    document = {**coco_document(), "annotations": []}
    truth = coco.parse(document, Path("truth.json"), keypoints=False)
    canvases = []

    def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        canvases.append(images.shape)
        # The second is 3 px wide, the third 3.5 px high.
        boxes = [[[8, 8, 24, 24], [40, 8, 43, 40], [8, 40, 40, 43.5]]]
        return np.array(boxes, np.float32), np.array([[0.9, 0.8, 0.7]], np.float32)

    cv2.imwrite(str(tmp_path / "street.png"), np.zeros((48, 64, 3), np.uint8))
    find = canvas_detector(detect, canvas=Size(64, 64), fit="letterbox")
    found = detected_boxes(truth, tmp_path, find)
    assert canvases == [(1, 64, 64, 3)]
    np.testing.assert_allclose(found[7].boxes_image, [[8, 8, 24, 24]], atol=1e-4)
