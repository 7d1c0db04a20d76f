"""``slimpose verify``."""

from __future__ import annotations

import dataclasses
import json as json_text
import re
import sys
from pathlib import Path

from slimpose.cli.counted import counted
from slimpose.cli.sample_crops import sample_crops
from slimpose.evaluate.drift import (
    PredictionDrift,
    compare_models,
    compare_pipelines,
    exceeded_limits,
)
from slimpose.media.images import read_image
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.models import DEFAULT_DETECTOR, check_detector_of, resolve
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.sample_photos import photo_files, sample_photos_folder
from slimpose.runtime.session import Session

_MODEL_SPEC = re.compile(r"(?P<model>.+)@(?P<backend>[a-z]+)(:(?P<precision>[a-z0-9+]+))?")


def verify(
    a: str,
    b: str,
    /,
    images: Path | None = None,
    annotations: Path | None = None,
    max_px: float | None = None,
    max_p95_px: float | None = None,
    min_score: float = 0.3,
    people: int = 500,
    json: bool = False,
    threads: int | None = None,
) -> int:
    """Run two pose models on the same people and report the differences of their outputs.

    If one of them is a one-stage model, which finds people itself, both run on the whole images
    (a model of crops with the shipped detector); differences are in image pixels then, and people
    that only one of them finds are counted. They exceed every limit.

    A and B are shipped names or model files (.onnx, .xml, .tflite, .ncnn.param). Append @BACKEND
    or @BACKEND:PRECISION to choose how a model runs: slimpose verify mnv2 mnv2@openvino:bf16. The
    exit code is 1 if a limit is exceeded, for use in CI.

    Args:
        a: The reference.
        b: The model to compare with it.
        images: Folder of images; the sample photos by default.
        annotations: COCO file with the people's boxes; the shipped detector finds them by default.
        max_px: Fail if any point differs by more, in crop pixels (image pixels for one-stage
            models).
        max_p95_px: Fail if more than 5 of 100 points differ by more.
        min_score: Joints with a lower score in either model do not count.
        people: Maximum number of people; of one-stage models, the image that reaches it is the
            last.
        json: Print JSON.
        threads: CPU threads; the runtime's choice by default.
    """
    for option, limit in (("--max-px", max_px), ("--max-p95-px", max_p95_px)):
        if limit is not None and not limit >= 0:
            raise ValueError(f"{option} is {limit:g}; expected pixels, 0 or more")
    if not 0 <= min_score <= 1:
        raise ValueError(f"--min-score is {min_score:g}; expected a number 0..1")
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more")
    if annotations is not None and images is None:
        raise ValueError("--annotations is given; expected --images, the folder of its images, too")
    folder = images or sample_photos_folder()
    models = [open_model(text, threads) for text in (a, b)]
    for text, model in zip((a, b), models, strict=True):
        if model.info.task not in ("pose", "one-stage"):
            raise ValueError(f"{text} is a {model.info.task} model; expected a pose model")
    if any(model.info.task == "one-stage" for model in models):
        if annotations is not None:
            raise ValueError("one-stage models find people themselves; expected no --annotations")
        first, second = (_pipeline(model, threads) for model in models)
        photos = map(read_image, photo_files(folder))
        drift = compare_pipelines(first, second, photos, min_score=min_score, people=people)
    else:
        crops, areas = sample_crops(
            folder, annotations, size=models[0].info.size, people=people, threads=threads
        )
        drift = compare_models(models[0], models[1], crops, areas, min_score=min_score)
    exceeded = exceeded_limits(drift, max_px=max_px, max_p95_px=max_p95_px)
    if json:
        print(json_text.dumps({"a": a, "b": b, **dataclasses.asdict(drift), "broken": exceeded}))
    else:
        print("\n".join(_report(drift, a, b, min_score)))
    for sentence in exceeded:
        print(f"slimpose verify: {sentence}", file=sys.stderr)
    return 1 if exceeded else 0


def _report(drift: PredictionDrift, a: str, b: str, min_score: float) -> list[str]:
    lines = [
        f"{b} compared with {a}: {counted(drift.people, 'person')}, "
        f"{counted(drift.joints, 'joint')} over {min_score:g} in both",
        f"  points    mean {drift.mean_px:.3f}  p95 {drift.p95_px:.3f}  max {drift.max_px:.3f} "
        f"{drift.pixels} pixels",
        f"  scores    mean {drift.score_mean:.4f}  max {drift.score_max:.4f}",
        f"  OKS       mean {drift.oks_mean:.4f}  min {drift.oks_min:.4f}",
    ]
    if drift.pixels == "image":
        lines.append(
            f"  unmatched {drift.unmatched_a} only in {a}, {drift.unmatched_b} only in {b}"
        )
    if drift.map_rms is not None and drift.map_max is not None:
        lines.append(f"  heatmaps  rms {drift.map_rms:.5f}  max {drift.map_max:.4f}")
    return lines


def _pipeline(model: Session, threads: int | None) -> Pipeline:
    """Return the pipeline of a model, with the shipped detector unless it finds people itself."""
    if model.info.task == "one-stage":
        return Pipeline(estimator=OneStageEstimator(model), detector=None)
    check_detector_of(model.info.skeleton, DEFAULT_DETECTOR)
    detector = Detector(Session(resolve(DEFAULT_DETECTOR), threads=threads))
    return Pipeline(estimator=PoseEstimator(model), detector=detector)


def open_model(text: str, threads: int | None) -> Session:
    """Open a model given as MODEL, MODEL@BACKEND or MODEL@BACKEND:PRECISION."""
    spec = None if Path(text).is_file() else _MODEL_SPEC.fullmatch(text)
    if spec is None:
        return Session(resolve(text), threads=threads)
    backend, precision = spec["backend"], spec["precision"]
    return Session(resolve(spec["model"]), threads=threads, backend=backend, precision=precision)
