"""Malformed annotation files, boxes and poses; see ``fuzz_harness``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coco_documents import coco_document
from fuzz_harness import Case, Kind, check
from fuzz_mutations import damaged_json
from image_files import encoded
from slimpose.arrays import Size
from synthetic_models import dot_image, write_detector_model, write_pose_model

pytest.importorskip("onnx")

OUTPUTS = ("p.json", "p.jsonl", "p.csv", "r.json", "errors")
POSES: list[dict[str, Any]] = [
    {
        "file_name": "street.png",
        "image_id": 7,
        "category_id": 1,
        "frame": 0,
        "bbox": [10.0, 8.0, 30.0, 32.0],
        "keypoints": [value for joint in range(17) for value in (12.0 + joint, 10.0 + joint, 0.9)],
        "score": score,
    }
    for score in (0.9, 0.4)
]


def prepare(folder: Path) -> None:
    write_pose_model(folder / "pose.onnx")
    write_detector_model(folder / "detector.onnx")
    (folder / "street.png").write_bytes(encoded(".png", dot_image(Size(48, 64), 30, 24)))
    (folder / "good.json").write_text(json.dumps(coco_document()))


def annotation_case(rng: random.Random, shared: Path) -> Case:
    """An annotation file, for ``evaluate`` of both kinds of models and for ``predict --boxes``."""
    figures = ["--images", str(shared), "--threads", "1", "--json", "p.json", "--results", "r.json"]
    model = str(shared / rng.choice(("pose.onnx", "pose.onnx", "detector.onnx")))
    call = ["evaluate", model, "--annotations", "bad.json", *figures]
    if model.endswith("pose.onnx") and rng.random() < 0.2:
        call += ["--analyze", "errors"]
    if rng.random() < 0.2:
        call = _predict(shared, "bad.json")
    document = damaged_json(rng, coco_document())
    return Case(files={"bad.json": document}, arguments=call, subject="bad.json", outputs=OUTPUTS)


def poses_case(rng: random.Random, shared: Path) -> Case:
    """Boxes and poses of a detector, for ``predict --boxes`` and ``evaluate --boxes``."""
    call = _predict(shared, "bad.json")
    if rng.random() < 0.4:
        call = ["evaluate", str(shared / "pose.onnx"), "--annotations", str(shared / "good.json")]
        call += ["--images", str(shared), "--threads", "1", "--boxes", "bad.json"]
        call += ["--json", "p.json", "--results", "r.json"]
    document = damaged_json(rng, POSES)
    return Case(files={"bad.json": document}, arguments=call, subject="bad.json", outputs=OUTPUTS)


def _predict(shared: Path, boxes: str) -> list[str]:
    call = ["predict", str(shared / "street.png"), "--model", str(shared / "pose.onnx")]
    call += ["--threads", "1", "--no-draw", "--boxes", boxes]
    return [*call, "--json", "p.json", "--csv", "p.csv", "--jsonl", "p.jsonl"]


KINDS = (
    Kind(name="annotations", count=200, make=annotation_case, prepare=prepare),
    Kind(name="boxes and poses", count=160, make=poses_case, prepare=prepare),
)
Record = Callable[[str, object], None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_tenth_malformed_input_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property, every=10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_malformed_input_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property)
