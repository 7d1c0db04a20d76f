"""The trial of models of other projects on the sample photos."""

from __future__ import annotations

from pathlib import Path

import pytest

import slimpose
from foreign_models import DETECTOR_SIZE, box_outputs, write_outputs, write_simcc
from slimpose.measure import trial
from slimpose.runtime import models
from slimpose.runtime.sample_photos import sample_photos_folder

pytestmark = pytest.mark.skipif(
    sample_photos_folder() is None or not models.shipped(), reason="needs photos and models"
)


def test_models_that_find_other_people_are_doubted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pose = write_simcc(tmp_path / "pose.onnx")
    boxes = write_outputs(tmp_path / "boxes.onnx", DETECTOR_SIZE, box_outputs()["picodet"])
    pipeline = slimpose.load(pose, boxes, threads=1)
    found = trial.doubts(pipeline, pose, boxes)
    assert [line.partition(" finds ")[0] for line in found] == [str(pose), str(boxes)]
    assert "other poses in the sample photos than the shipped model: mean OKS 0." in found[0]
    assert "people that the shipped detector finds" in found[1]
    monkeypatch.setattr(trial, "load", None)  # no second trial
    assert trial.doubts(pipeline, pose, boxes) == found


def test_shipped_models_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "load", None)
    pipeline = slimpose.load(threads=1)
    assert trial.doubts(pipeline, models.DEFAULT_POSE, models.DEFAULT_DETECTOR) == []
