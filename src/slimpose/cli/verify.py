"""``slimpose verify``."""

from __future__ import annotations

import dataclasses
import json as json_text
import re
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import slimpose
from slimpose import geometry
from slimpose.arrays import Boxes, Crops, PersonScores
from slimpose.evaluate.drift import broken_limits, compare
from slimpose.formats import coco
from slimpose.runtime.crops import cut_crops
from slimpose.runtime.detector import Detector
from slimpose.runtime.images import IMAGE_SUFFIXES, read_image
from slimpose.runtime.models import DEFAULT_DETECTOR, resolve
from slimpose.runtime.session import Session

_HOW = re.compile(r"(?P<model>.+)@(?P<backend>[a-z]+)(:(?P<precision>[a-z0-9+]+))?")
_PHOTOS = Path(slimpose.__file__).resolve().parents[2] / "examples" / "photos"
"""In a checkout; the installed package has none."""


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
    threads: int = 0,
) -> int:
    """Run two pose models on the same people and tell how far apart their points, scores and heatmaps are.

    A and B are shipped names or ONNX files, each with @BACKEND or @BACKEND:PRECISION behind it if it is to run so:
    slimpose verify mnv2 mnv2@openvino:bf16. The exit code is 1 if a limit is broken: meant for CI.

    Args:
        a: The reference.
        b: What is compared with it.
        images: Folder of pictures; a checkout's sample photos by default.
        annotations: COCO file that says where the people are; the shipped detector finds them by default.
        max_px: Fail if any point is further away, in crop pixels.
        max_p95_px: Fail if more than 5 of 100 points are further away.
        min_score: Joints scored lower in either model do not count.
        people: Look at no more people than this.
        json: Print JSON.
        threads: CPU threads; 0 leaves the runtime's choice.
    """
    for option, limit in (("--max-px", max_px), ("--max-p95-px", max_p95_px)):
        if limit is not None and not limit >= 0:
            raise ValueError(f"{option} is {limit:g}; expected pixels, 0 or more")
    if not 0 <= min_score <= 1:
        raise ValueError(f"--min-score is {min_score:g}; expected a number 0..1")
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more")
    if threads < 0:
        raise ValueError(f"--threads is {threads}; expected 0 (the runtime's choice) or more")
    if annotations is not None and images is None:
        raise ValueError("--annotations names pictures; expected --images, the folder they are in, too")
    if images is None and not _PHOTOS.is_dir():
        raise ValueError("the sample photos come with a checkout, not with the installed package; expected --images")
    folder = images or _PHOTOS
    models = [opened(text, threads) for text in (a, b)]
    for text, model in zip((a, b), models, strict=True):
        if model.info.task != "pose":
            raise ValueError(f"{text} is a {model.info.task} model; expected a pose model")
    boxes = _annotated(annotations, folder) if annotations is not None else _detected(folder, threads, people)
    crops, areas = _cut(boxes, models[0], people)
    if len(crops) == 0:
        raise ValueError(f"nobody is in the pictures of {folder}: nothing to compare")
    drift = compare(models[0], models[1], crops, areas, min_score=min_score)
    broken = broken_limits(drift, max_px=max_px, max_p95_px=max_p95_px)
    if json:
        print(json_text.dumps({"a": a, "b": b, **dataclasses.asdict(drift), "broken": broken}))
    else:
        print(f"{b} beside {a}: {drift.people} people, {drift.joints} joints over {min_score:g} in both")
        print(f"  points    mean {drift.mean_px:.3f}  p95 {drift.p95_px:.3f}  max {drift.max_px:.3f} crop pixels")
        print(f"  scores    mean {drift.score_mean:.4f}  max {drift.score_max:.4f}")
        print(f"  OKS       mean {drift.oks_mean:.4f}  min {drift.oks_min:.4f}")
        if drift.map_rms is not None and drift.map_max is not None:
            print(f"  heatmaps  rms {drift.map_rms:.5f}  max {drift.map_max:.4f}")
    for sentence in broken:
        print(f"slimpose verify: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def opened(text: str, threads: int) -> Session:
    """Return the session of a model's name or file with, behind an @, how it is to run."""
    how = None if Path(text).is_file() else _HOW.fullmatch(text)
    if how is None:
        return Session(resolve(text), threads=threads)
    backend, precision = how["backend"], how["precision"] or ""
    return Session(resolve(how["model"]), threads=threads, backend=backend, precision=precision)


def _annotated(annotations: Path, folder: Path) -> dict[Path, Boxes]:
    truth = coco.read(annotations, keypoints=False)
    truth.check_images(folder)
    boxes: dict[Path, Boxes] = {}
    for image_id, people in truth.people_by_image().items():
        found = [person.box_image for person in people if not person.is_crowd]
        stacked = np.array(found, np.float32).reshape(-1, 4)
        stacked = stacked[(stacked[:, 2:] > stacked[:, :2]).all(axis=1)]
        if len(stacked):
            boxes[folder / truth.images[image_id].file_name] = stacked
    return boxes


def _detected(folder: Path, threads: int, people: int) -> dict[Path, Boxes]:
    if not folder.is_dir():
        raise NotADirectoryError(f"no image folder {folder}")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no pictures; expected files like {', '.join(sorted(IMAGE_SUFFIXES)[:4])}")
    detector = Detector(Session(resolve(DEFAULT_DETECTOR), threads=threads))
    boxes: dict[Path, Boxes] = {}
    for file in files:
        found, _ = detector(read_image(file))
        if len(found):
            boxes[file] = found
        if sum(map(len, boxes.values())) >= people:
            break
    return boxes


def _cut(boxes: dict[Path, Boxes], model: Session, people: int) -> tuple[Crops, PersonScores]:
    """Crops of at most so many people, and the areas of their boxes in square crop pixels."""
    crops: list[np.ndarray] = []
    areas: list[np.ndarray] = []
    left = people
    for file, found in boxes.items():
        cut, affines = cut_crops(read_image(file), found[:left], model.info.size)
        crops.append(cut)
        areas.append(geometry.box_areas(found[:left]) * affines[:, 0, 0] * affines[:, 1, 1])
        left -= len(cut)
        if left <= 0:
            break
    if not crops:
        return np.zeros((0, *model.info.size, 3), np.uint8), np.zeros(0, np.float32)
    return np.concatenate(crops), np.concatenate(areas).astype(np.float32)
