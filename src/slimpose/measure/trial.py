"""A trial of models of other projects: do they find people where the shipped models find them?

A wrong guess of a file's kind, color order or normalization raises no error: the poses are just
worse, or there are none. So each file is tried once on the sample photos of a checkout, and what
speaks against the guess is said. Results are cached by file and settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image
from slimpose.formats.files import read_json, write_json
from slimpose.media.images import read_image
from slimpose.oks import oks_matrix
from slimpose.poses import Poses
from slimpose.runtime import models
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.detector import Detector
from slimpose.runtime.foreign.settings import read_settings
from slimpose.runtime.pipeline import Pipeline, load
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.skeleton import COCO17
from slimpose.skeleton_parts import is_person

MIN_SHARE = 0.5
"""Share of the shipped detector's people that another detector should find."""
MIN_OKS = 0.5
"""Mean OKS of poses to those of the shipped model."""
_SAME_BOX_IOU = 0.5
_PHOTOS = 4
_MIN_BOX_SCORE = 0.5
"""The trial counts people that the shipped detector gives at least this score."""


def doubts(pipeline: Pipeline, model: str | Path, detector: str | Path | None) -> list[str]:
    """Return a sentence about each model of another project that does badly in the trial.

    ``model`` and ``detector`` are the files that the pipeline was opened from. Without sample
    photos or shipped models nothing can be tried, nor with keypoints that are not a person's.
    """
    if not is_person(pipeline.estimator.session.info.skeleton):
        return []
    sessions = {model: pipeline.estimator.session}
    if pipeline.detector is not None and detector is not None:
        sessions[detector] = pipeline.detector.session
    foreign = [name for name, session in sessions.items() if session.info.kind]
    folder = sample_photos_folder()
    if not foreign or folder is None or not models.shipped():
        return []
    cache = cache_folder() / "trials.json"
    known = _read(cache)
    keys = {name: _key(Path(name)) for name in foreign}
    if not set(keys.values()) <= known.keys():
        photos = [read_image(file) for file in sorted(folder.glob("*.jpg"))[:_PHOTOS]]
        reference = load(threads=1, conf=_MIN_BOX_SCORE)
        for name, key in keys.items():
            is_detector = pipeline.detector is not None and name == detector
            known[key] = (
                _detector_doubt(pipeline.detector, reference, photos)
                if is_detector and pipeline.detector is not None
                else _pose_doubt(pipeline, reference, photos)
            )
        with suppress(OSError, ValueError):  # tried again next time
            write_json(cache, known)
    options = {name: "--detector-kind" if name == detector else "--model-kind" for name in keys}
    return [
        f"{name} {known[key]} (is its kind right? See docs/models.md for {options[name]} ...)"
        for name, key in keys.items()
        if known[key]
    ]


def _detector_doubt(detector: Detector, reference: Pipeline, photos: Sequence[Image]) -> str:
    found = expected = 0
    assert reference.detector is not None
    for photo in photos:
        boxes, _ = reference.detector(photo)
        found += _matches(boxes, detector(photo)[0])
        expected += len(boxes)
    return _recall(found, expected)


def _pose_doubt(pipeline: Pipeline, reference: Pipeline, photos: Sequence[Image]) -> str:
    joints = pipeline.estimator.session.info.skeleton.joints
    if not set(COCO17.joints) <= set(joints):
        return ""
    order = [joints.index(joint) for joint in COCO17.joints]
    similar: list[float] = []
    found = expected = 0
    for photo in photos:
        ours = reference(photo)
        expected += len(ours)
        if pipeline.estimator.finds_people:
            theirs = pipeline.estimator.estimate_many([(photo, *_NO_BOXES)])[0]
            found += _matches(ours.boxes_image, theirs.boxes_image)
        else:
            theirs = pipeline.estimator(photo, ours.boxes_image)
        if len(ours) and len(theirs):
            similar += _best_oks(ours, theirs.points_image[:, order]).tolist()
    if pipeline.estimator.finds_people and (doubt := _recall(found, expected)):
        return doubt
    if similar and np.mean(similar) < MIN_OKS:
        return (
            f"finds other poses in the sample photos than the shipped model: mean OKS "
            f"{np.mean(similar):.2f}, expected {MIN_OKS:g} or more"
        )
    return ""


_NO_BOXES = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def _best_oks(ours: Poses, points: np.ndarray) -> np.ndarray:
    """Return for each of our people the OKS of the most similar other pose."""
    areas = geometry.box_areas(ours.boxes_image)
    return oks_matrix(ours.points_image, points, areas, COCO17).max(axis=1)


def _matches(expected: np.ndarray, found: np.ndarray) -> int:
    """Return how many of the expected boxes (a, 4) are among the found ones (b, 4)."""
    if not len(expected) or not len(found):
        return 0
    return int((geometry.box_iou(expected, found).max(axis=1) >= _SAME_BOX_IOU).sum())


def _recall(found: int, expected: int) -> str:
    if found >= MIN_SHARE * expected:
        return ""
    return (
        f"finds {found} of the {expected} people that the shipped detector finds in sample photos"
    )


def _key(path: Path) -> str:
    settings = repr(read_settings(path).given)
    return hashlib.sha256(path.read_bytes() + settings.encode()).hexdigest()[:24]


def _read(cache: Path) -> dict[str, str]:
    try:
        document = read_json(cache, kind="trial cache")
    except (OSError, ValueError):
        return {}
    is_valid = isinstance(document, dict) and all(isinstance(v, str) for v in document.values())
    return document if is_valid else {}
