"""Own objects from labels to a video with ids: train, evaluate, quantize, export, predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drawn_objects import KINDS, write_dataset, write_video
from run_main import run_main
from slimpose.geometry import box_iou
from slimpose.runtime.session import Session


def write_recipe(path: Path, base: str, size: str, samples: int) -> Path:
    """A short run of a recipe."""
    path.write_text(
        f'extends = "{base}"\nevaluations = 1\npatience = 0\nema = 0.95\n'
        f'[[phases]]\nsize = "{size}"\nsamples = {samples}\n'
    )
    return path


def walk(name: str, folder: Path, *, instances: int, samples: int) -> dict[str, Any]:
    """Take a kind of object all the way; return AP, AP after INT8, and ids and boxes in a video."""
    labels = write_dataset(KINDS[name], folder / "train", instances, seed=1)
    other = write_dataset(KINDS[name], folder / "val", 40, seed=2)
    data = ["--train", labels, "--images", labels.parent / "images"]
    data += ["--val", other, "--val-images", other.parent / "images"]
    pose = write_recipe(folder / "pose.toml", "own", "128x128", samples)
    boxes = write_recipe(folder / "boxes.toml", "own-detector", "128x160", samples)
    for recipe in (pose, boxes):
        assert run_main("train", recipe, *data, "--out", folder / recipe.stem) == 0
        best = folder / recipe.stem / "best.safetensors"
        assert run_main("export", best, "--out", folder / f"{recipe.stem}.onnx") == 0
    measured = ["--annotations", other, "--images", other.parent / "images"]
    figures = folder / "figures.json"
    assert run_main("evaluate", folder / "pose.onnx", *measured, "--json", figures) == 0
    found = json.loads(figures.read_text())
    small = folder / "small.onnx"
    budget = ["--max-ap-loss", "5", "--calibration-people", "30", "--people", "60"]
    calibration = ["--calibration", labels.parent / "images", "--annotations", labels]
    assert run_main("quantize", folder / "pose.onnx", *calibration, *budget, "--out", small) == 0
    assert run_main("evaluate", small, *measured, "--json", figures) == 0
    video = folder / "video.avi"
    true_boxes = write_video(KINDS[name], video, seed=5)
    results = folder / "results.json"
    models = ["--model", small, "--detector", folder / "boxes.onnx"]
    assert run_main("predict", video, *models, "--json", results, "--no-draw") == 0
    records = json.loads(results.read_text())
    return {
        "AP": found["AP"],
        "sigmas": found["sigmas"],
        "AP int8": json.loads(figures.read_text())["AP"],
        "skeleton": Session(small).info.skeleton,
        "ids": [record["track_id"] for record in records],
        "right": [
            float(box_iou(true_boxes[record["frame"]], _box(record)).max()) for record in records
        ],
    }


def _box(record: dict[str, Any]) -> np.ndarray:
    points = np.array(record["keypoints"], np.float32).reshape(-1, 3)[:, :2]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])[None]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_own_object_is_trained_and_followed(name: str, tmp_path: Path) -> None:
    """300 instances; minutes on two cores. Figures of longer runs: docs/own-data.md."""
    found = walk(name, tmp_path, instances=300, samples=3200)
    assert found["AP"] > 0.25
    assert found["AP int8"] > found["AP"] - 0.1
    assert found["skeleton"].joints == KINDS[name].joints
    assert found["skeleton"].sigma_source in found["sigmas"]
    assert len(set(found["ids"])) in (1, 2, 3)
    assert len(found["ids"]) > 20
    assert np.median(found["right"]) > 0.5


def test_drawn_objects_vary(tmp_path: Path) -> None:
    """What the others train on: no two alike, joints inside their boxes."""
    for kind in KINDS.values():
        path = write_dataset(kind, tmp_path / kind.name, 6)
        document = json.loads(path.read_text())
        shapes = {
            tuple(np.round(np.array(one["keypoints"]) / one["bbox"][2], 2))
            for one in document["annotations"]
        }
        assert len(shapes) == len(document["annotations"])
        for one in document["annotations"]:
            x, y, w, h = one["bbox"]
            for px, py, v in np.array(one["keypoints"]).reshape(-1, 3):
                assert not v or (x - 3 <= px <= x + w + 3 and y - 3 <= py <= y + h + 3)
        images = [cv2.imread(str(file)) for file in sorted((path.parent / "images").iterdir())]
        assert min(float(np.std(np.asarray(image))) for image in images) > 10
