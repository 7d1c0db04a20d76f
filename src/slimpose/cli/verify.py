"""``slimpose verify``."""

from __future__ import annotations

import dataclasses
import json as json_text
import re
import sys
from pathlib import Path
from typing import Annotated

import tyro

from slimpose.cli.sample_crops import sample_crops
from slimpose.evaluate.drift import compare_models, exceeded_limits
from slimpose.measure.synthetic_video import photos_folder
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session

_HOW = re.compile(r"(?P<model>.+)@(?P<backend>[a-z]+)(:(?P<precision>[a-z0-9+]+))?")


def verify(
    a: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")],
    b: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")],
    /,
    images: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    annotations: Path | None = None,
    max_px: float | None = None,
    max_p95_px: float | None = None,
    min_score: float = 0.3,
    people: int = 500,
    json: bool = False,
    threads: int | None = None,
) -> int:
    """Run two pose models on the same people and tell how far apart their points, scores and heatmaps are.

    A and B are shipped names or model files (.onnx, .xml, .tflite, .ncnn.param). With @BACKEND or
    @BACKEND:PRECISION behind it, one is run so: slimpose verify mnv2 mnv2@openvino:bf16. If a limit
    is broken, the exit code is 1: meant for CI.

    Args:
        a: The reference.
        b: What is compared with it.
        images: Folder of pictures; a checkout's sample photos by default.
        annotations: COCO file that says where the people are; the shipped detector finds them by
            default.
        max_px: Fail if any point is further away, in crop pixels.
        max_p95_px: Fail if more than 5 of 100 points are further away.
        min_score: Joints scored lower in either model do not count.
        people: Look at no more people than this.
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
        raise ValueError(
            "--annotations names pictures; expected --images, the folder they are in, too"
        )
    folder = images or photos_folder()
    if folder is None:
        raise ValueError(
            "the sample photos come with a checkout, not with the installed package; expected --images"
        )
    models = [open_model(text, threads) for text in (a, b)]
    for text, model in zip((a, b), models, strict=True):
        if model.info.task != "pose":
            raise ValueError(f"{text} is a {model.info.task} model; expected a pose model")
    crops, areas = sample_crops(
        folder, annotations, size=models[0].info.size, people=people, threads=threads
    )
    drift = compare_models(models[0], models[1], crops, areas, min_score=min_score)
    broken = exceeded_limits(drift, max_px=max_px, max_p95_px=max_p95_px)
    if json:
        print(json_text.dumps({"a": a, "b": b, **dataclasses.asdict(drift), "broken": broken}))
    else:
        print(
            f"{b} beside {a}: {drift.people} people, {drift.joints} joints over {min_score:g} in both"
        )
        print(
            f"  points    mean {drift.mean_px:.3f}  p95 {drift.p95_px:.3f}  max {drift.max_px:.3f} crop pixels"
        )
        print(f"  scores    mean {drift.score_mean:.4f}  max {drift.score_max:.4f}")
        print(f"  OKS       mean {drift.oks_mean:.4f}  min {drift.oks_min:.4f}")
        if drift.map_rms is not None and drift.map_max is not None:
            print(f"  heatmaps  rms {drift.map_rms:.5f}  max {drift.map_max:.4f}")
    for sentence in broken:
        print(f"slimpose verify: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def open_model(text: str, threads: int | None) -> Session:
    """Return the session of a model's name or file with, behind an @, how it is to run."""
    how = None if Path(text).is_file() else _HOW.fullmatch(text)
    if how is None:
        return Session(resolve(text), threads=threads)
    backend, precision = how["backend"], how["precision"] or None
    return Session(resolve(how["model"]), threads=threads, backend=backend, precision=precision)
