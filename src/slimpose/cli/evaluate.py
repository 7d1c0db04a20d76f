"""``slimpose evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from slimpose.arrays import Crops, Points, Scores
from slimpose.evaluate import detector as detector_evaluation
from slimpose.evaluate import pose as pose_evaluation
from slimpose.evaluate.boxes import PeopleBoxes, boxes_in_file, ground_truth_boxes
from slimpose.evaluate.coco_ap import require_pycocotools
from slimpose.formats import coco
from slimpose.formats.files import write_json
from slimpose.runtime import models
from slimpose.runtime.session import Model, Session

BOX_FLOOR = 0.05
"""Detector boxes scored lower are not looked at: their poses could add a tenth of an AP, at ten times the work."""
POSE_NMS_OKS = 0.9


@dataclass(slots=True)
class Stopwatch:
    """Adds up the time that a function's calls take."""

    seconds: float = 0.0
    calls: int = 0

    def timed(self, function: Callable[[Crops], Any]) -> Callable[[Crops], Any]:
        """Return the function, timed."""

        def call(batch: Crops) -> Any:
            started = time.perf_counter()
            result = function(batch)
            self.seconds += time.perf_counter() - started
            self.calls += 1
            return result

        return call


def evaluate(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    /,
    annotations: Path,
    images: Path,
    boxes: str = "gt",
    flip: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    detector: str = "detector",
    threads: int = 0,
) -> int:
    """Measure a model's accuracy: keypoint AP of a pose net, person-box AP of a detector.

    Args:
        model: A shipped name, an ONNX file, or a run's best.safetensors (needs PyTorch).
        annotations: COCO annotation file with the truth.
        images: Folder of its images.
        boxes: gt for the file's own boxes, detector for those of --detector, or a COCO box results file.
        flip: Average the heatmaps with those of the mirrored crops (twice the work).
        json_file: Where to write the figures.
        detector: The detector of --boxes detector.
        threads: CPU threads; 0 leaves the runtime's choice.
    """
    require_pycocotools()
    if threads < 0:
        raise ValueError(f"--threads is {threads}; expected 0 (the runtime's choice) or more")
    if json_file is not None and json_file.is_dir():
        raise IsADirectoryError(f"--json {json_file} is a folder; expected a file to write")
    loaded = _load(model, threads)
    if loaded.info.task == "detect":
        figures = _evaluate_detector(loaded, annotations, images)
    else:
        figures = _evaluate_pose(
            loaded, annotations, images, boxes=boxes, flip=flip, detector=detector, threads=threads
        )
    figures["threads"] = threads
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if json_file:
        write_json(json_file, figures)
    return 0


def _evaluate_detector(loaded: Model, annotations: Path, images: Path) -> dict[str, Any]:
    truth = coco.read(annotations, keypoints=False)
    watch = Stopwatch()
    with Progress(transient=True) as bar:
        task = bar.add_task("images")
        found = detector_evaluation.detected_boxes(
            truth,
            images,
            watch.timed(_detect(loaded)),
            canvas=loaded.info.size,
            nms_iou=loaded.info.nms_iou,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    figures: dict[str, Any] = {**detector_evaluation.box_ap(truth, found)}
    figures |= detector_evaluation.recall_and_false(truth, found, threshold=loaded.info.score_threshold)
    people = sum(not person.is_crowd for person in truth.people)
    return figures | {
        "score_threshold": loaded.info.score_threshold,
        "images": len(truth.images),
        "people": people,
        "model": loaded.info.name,
        "ms_per_image": 1e3 * watch.seconds / max(1, watch.calls),
    }


def _evaluate_pose(
    loaded: Model, annotations: Path, images: Path, *, boxes: str, flip: bool, detector: str, threads: int
) -> dict[str, Any]:
    truth = coco.read(annotations, keypoints=True)
    if truth.skeleton.joints != loaded.info.skeleton.joints:
        raise ValueError(
            f"{annotations} has the joints {', '.join(truth.skeleton.joints)}; {loaded.info.name} gives "
            f"{', '.join(loaded.info.skeleton.joints)}: expected the same, in the same order"
        )
    predict, watch = _predictor(loaded, flip=flip), Stopwatch()
    looked_at = _boxes(boxes, truth, images, detector=detector, threads=threads)
    people = sum(len(found.scores) for found in looked_at.values())
    with Progress(transient=True) as bar:
        task = bar.add_task("people", total=people)
        records = pose_evaluation.pose_records(
            truth,
            images,
            looked_at,
            watch.timed(predict),
            crop_size=loaded.info.size,
            nms_oks=None if boxes == "gt" else POSE_NMS_OKS,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return {
        **pose_evaluation.pose_ap(truth, records),
        "boxes": boxes if boxes in ("gt", "detector") else Path(boxes).name,
        "flip": flip,
        "images": len(truth.images),
        "people": people,
        "model": loaded.info.name,
        "ms_per_person": 1e3 * watch.seconds / max(1, people),
    }


def _predictor(model: Model, *, flip: bool) -> pose_evaluation.PredictCrops:
    def predict(batch: Crops) -> tuple[Points, Scores]:
        points, scores = model.run(batch, ("points", "scores"))
        return points, scores

    if not flip:
        return predict
    if "heatmaps" not in model.outputs:
        raise ValueError(f"{model.info.name} gives no heatmaps, which --flip averages; export it with --heatmaps")
    return pose_evaluation.by_heatmaps(
        lambda batch: model.run(batch, ("heatmaps",))[0], model.info.skeleton, stride=model.info.stride, flip=True
    )


def _boxes(boxes: str, truth: coco.CocoFile, images: Path, *, detector: str, threads: int) -> dict[int, PeopleBoxes]:
    if boxes == "gt":
        return ground_truth_boxes(truth)
    if boxes == "detector":
        finder = _load(detector, threads)
        if finder.info.task != "detect":
            raise ValueError(f"{detector} is a {finder.info.task} model; expected a person detector")
        found = detector_evaluation.detected_boxes(
            truth, images, _detect(finder), canvas=finder.info.size, nms_iou=finder.info.nms_iou
        )
    else:
        found = boxes_in_file(truth, Path(boxes))
    return {image_id: people.over(BOX_FLOOR) for image_id, people in found.items()}


def _load(model: str, threads: int) -> Model:
    if not model.endswith(".safetensors"):
        return Session(models.resolve(model), threads=threads)
    import torch

    from slimpose.export.onnx import TorchModel

    if threads:
        torch.set_num_threads(threads)
    return TorchModel(Path(model))


def _detect(model: Model) -> detector_evaluation.DetectImages:
    def detect(batch: Crops) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = model.run(batch, ("boxes", "scores"))
        return boxes, scores

    return detect
