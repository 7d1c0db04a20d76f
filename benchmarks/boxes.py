"""The shipped person detector beside YOLOX files: person AP, tall people found, false boxes, by the same evaluator.

    python benchmarks/boxes.py --yolox yolox-nano.onnx \
        --annotations ../shared/data/dev/person_keypoints.json --images ../shared/data/dev/images

YOLOX is shown the picture at its own input's size (OpenVINO, BF16 where the processor has it) and
keeps one of boxes that overlap by 0.65; ours as it ships. The last line is JSON: figures, versions,
commit.
"""

from __future__ import annotations

import json
from pathlib import Path

import machine
import tyro

from slimpose.arrays import Size
from slimpose.evaluate.detector import (
    DetectImages,
    box_ap,
    detect_images,
    detected_boxes,
    recall_and_false_positives,
)
from slimpose.formats import coco
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session
from slimpose.train.box_distillation import SAME_PERSON_IOU, open_box_teacher

_YOLOX_SIZE = Size(416, 416)


def main(
    annotations: Path,
    images: Path,
    yolox: tuple[Path, ...] = (),
    model: str = "detector",
    thresholds: tuple[float, ...] = (0.3, 0.33, 0.4),
) -> None:
    """Measure person boxes.

    Args:
        annotations: COCO file with everyone's boxes.
        images: Folder of its images.
        yolox: ONNX files of YOLOX-nano or -tiny (416x416).
        model: Our detector: a shipped name or a file.
        thresholds: Scores from which a box counts, for people found and false boxes.
    """
    truth = coco.read(annotations, keypoints=False)
    ours = Session(resolve(model))

    systems: dict[str, tuple[DetectImages, Size, float]] = {
        model: (detect_images(ours), ours.info.size, ours.info.nms_iou_threshold)
    }
    systems |= {
        path.name: (open_box_teacher(path).detect, _YOLOX_SIZE, SAME_PERSON_IOU) for path in yolox
    }
    figures = []
    for name, (look, size, iou) in systems.items():
        found = detected_boxes(truth, images, look, canvas=size, nms_iou_threshold=iou)
        accuracy = box_ap(truth, found)
        told = {
            f"{threshold:g}": recall_and_false_positives(truth, found, threshold=threshold)
            for threshold in thresholds
        }
        figures.append({"model": name, "nms_iou_threshold": iou, **accuracy, "at": told})
        print(f"{name}: person AP {100 * accuracy['AP']:.1f}")
        for threshold, at in told.items():
            print(
                f"  {threshold}: {at['recall_tall']:.1%} of the tall, {at['false_per_image']:.2f} false an image"
            )
    print(json.dumps({**machine.about(), "boxes": figures}))


if __name__ == "__main__":
    tyro.cli(main)
