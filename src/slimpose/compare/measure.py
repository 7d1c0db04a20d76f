"""Time and accuracy of pose systems, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from slimpose.adapters.open_model import open_model
from slimpose.adapters.part_affinity import BottomUpEstimator
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.detector import MIN_SCORE, box_ap, detected_boxes
from slimpose.evaluate.pose import (
    MIN_BOX_SCORE,
    image_records,
    pose_ap,
    pose_records,
    predict_points,
)
from slimpose.formats.coco import CocoFile
from slimpose.runtime.detector import Detector
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.session import Model
from slimpose.runtime.timing import time_interleaved

_FIGURES = ("AP", "AP50", "AP75", "APM", "APL")


def time_models(
    files: Mapping[int, Path], *, threads: int, rounds: int, seconds: float
) -> dict[int, float]:
    """Return the median milliseconds per person of each model file; the calls are interleaved.

    Each is called ``rounds`` times; no further round starts after ``seconds``.
    """
    calls = {str(number): _call(path, threads) for number, path in files.items()}
    times = time_interleaved(calls, rounds=rounds, warm_up=1, seconds=seconds)
    return {int(number): round(one.median_ms, 2) for number, one in times.items()}


def _call(path: Path, threads: int) -> Callable[[], object]:
    model = open_model(path, threads=threads)
    outputs = ("points", "scores") if model.info.task == "pose" else model.outputs
    crop = np.random.default_rng(0).integers(0, 256, (1, *model.info.size, 3), dtype=np.uint8)
    return lambda: model.run(crop, outputs)


def measure_ap(model: Model, truth: CocoFile, images: Path) -> dict[str, float]:
    """Return COCO figures with ground-truth boxes, or of whole images for a bottom-up model.

    Of a detector they are those of its person boxes.

    The score of a person is the mean of the joints over a minimum score, as in ``slimpose
    evaluate``. Models of other projects may have the mean of all joints instead, where that gives
    them a better AP (MoveNet: 0.5 to 1; PP-TinyPose has 0.2 less by it).

    Raises:
        ImageError: If an image is missing or broken.
    """
    if model.info.task == "detect":
        find = Detector(model, score_threshold=MIN_SCORE)
        figures = box_ap(truth, detected_boxes(truth, images, find))
        return {name: round(figures[name], 4) for name in _FIGURES}
    if model.info.task == "bottom-up":
        records = image_records(truth, images, BottomUpEstimator(model))
    elif model.info.task == "one-stage":
        estimator = OneStageEstimator(model, score_threshold=MIN_BOX_SCORE)
        records = image_records(truth, images, estimator)
    else:
        boxes, predict, size = ground_truth_boxes(truth), predict_points(model), model.info.size
        records = pose_records(truth, images, boxes, predict, crop_size=size, batch_size=16)
    figures = pose_ap(truth, records)
    if model.info.task == "pose" and model.info.kind:
        of_all = [one | {"score": float(np.mean(one["keypoints"][2::3]))} for one in records]
        figures = max(figures, pose_ap(truth, of_all), key=lambda one: one["AP"])
    return {name: round(figures[name], 4) for name in _FIGURES}
