from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import slimpose
from imports import imported_by
from run_cli import Capture, start
from run_main import run_main
from slimpose.runtime import models
from synthetic_models import CARD, write_detector_model, write_pose_model

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two synthetic models."""
    folder = tmp_path / "weights"
    folder.mkdir()
    write_pose_model(folder / "mnv2.onnx")
    write_detector_model(folder / "detector.onnx")
    monkeypatch.setattr(models, "WEIGHTS", folder)
    return folder


def test_name_is_resolved_to_the_shipped_file(weights: Path) -> None:
    assert models.shipped() == {
        "detector": weights / "detector.onnx",
        "mnv2": weights / "mnv2.onnx",
    }
    assert models.resolve("mnv2") == weights / "mnv2.onnx"


def test_path_is_resolved_to_that_file(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes((weights / "mnv2.onnx").read_bytes())
    assert models.resolve(str(path)) == path
    assert models.resolve(path) == path


@pytest.mark.usefixtures("weights")
def test_unknown_name_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match="no model is named 'mnv3'; expected one of detector, mnv2, or a model file",
    ):
        models.resolve("mnv3")


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("path", ["other.onnx", "folder/other", Path("other")])
def test_missing_path_is_rejected(path: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model file"):
        models.resolve(path)


def test_load_opens_the_shipped_models_by_default(weights: Path) -> None:
    write_pose_model(weights / "hr.onnx")
    assert len(slimpose.load(threads=1)(np.zeros((40, 40, 3), np.uint8))) == 0


def test_json_list_has_the_metadata_of_each_file(weights: Path, capsys: Capture) -> None:
    assert run_main("models", "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(entries) == {"mnv2", "detector"}
    assert entries["mnv2"]["task"] == "pose"
    assert entries["mnv2"]["path"] == str(weights / "mnv2.onnx")
    assert entries["mnv2"]["precision"] == "fp32"
    assert entries["mnv2"]["gmac"] == 0.001
    assert entries["mnv2"]["params"] == 12
    assert entries["mnv2"]["card"] == CARD


@pytest.mark.usefixtures("weights")
def test_printed_list_shows_the_cards(capsys: Capture) -> None:
    assert run_main("models") == 0
    text = capsys.readouterr().out
    assert "mnv2" in text
    assert "license: Apache-2.0" in text


def test_closed_stdout_ends_the_program_silently(tmp_path: Path) -> None:
    process = start("models", "--json", folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == ""


def test_importing_slimpose_loads_no_large_package() -> None:
    assert not imported_by("import slimpose", "torch", "cv2", "onnxruntime", "rich")


def test_shipped_models_find_the_skier() -> None:
    poses = slimpose.load(threads=1)(PHOTOS / "000000544444.jpg")
    best = int(poses.person_scores.argmax())
    x1, y1, x2, y2 = poses.boxes_image[best]
    assert x1 < 240 < x2  # the only person, in the middle of 427x640 pixels
    assert y1 < 380 < y2
    assert (poses.scores[best] > 0.3).sum() >= 8
