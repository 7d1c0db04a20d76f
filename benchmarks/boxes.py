"""Compare the shipped person detector with YOLOX files: person AP, recall, false positives.

    python benchmarks/boxes.py --yolox yolox-nano.onnx \
        --annotations ../shared/data/dev/person_keypoints.json --images ../shared/data/dev/images

All are measured by the same evaluator, each at its own input size and NMS threshold. The last line
is JSON: figures, versions, commit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import machine

from slimpose.cli.arguments import run
from slimpose.evaluate.detector import (
    MIN_SCORE,
    box_ap,
    detected_boxes,
    recall_and_false_positives,
)
from slimpose.formats import coco
from slimpose.runtime.detector import Detector
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session


def main(
    annotations: Path,
    images: Path,
    yolox: tuple[Path, ...] = (),
    model: str = "detector",
    thresholds: tuple[float, ...] = (0.3, 0.33, 0.4),
) -> None:
    """Evaluate person boxes.

    Args:
        annotations: COCO file with the boxes of all people.
        images: Folder of its images.
        yolox: ONNX files of YOLOX-nano or -tiny, or other detectors (docs/models.md).
        model: Our detector: a shipped model's name or a file.
        thresholds: Score thresholds for the recall and the false positives.
    """
    truth = coco.read(annotations, keypoints=False)
    figures = []
    for name in (model, *map(str, yolox)):
        session = Session(resolve(name))
        found = detected_boxes(truth, images, Detector(session, score_threshold=MIN_SCORE))
        accuracy = box_ap(truth, found)
        by_threshold = {
            f"{threshold:g}": recall_and_false_positives(truth, found, threshold=threshold)
            for threshold in thresholds
        }
        iou = session.info.nms_iou_threshold
        figures.append({"model": name, "nms_iou_threshold": iou, **accuracy, "at": by_threshold})
        print(f"{name}: person AP {100 * accuracy['AP']:.1f}")
        for threshold, at in by_threshold.items():
            recall, false = at["recall_tall"], at["false_per_image"]
            print(f"  {threshold}: recall of tall people {recall:.1%}, {false:.2f} false per image")
    print(json.dumps({**machine.about(), "boxes": figures}))


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
