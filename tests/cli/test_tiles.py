"""``--tiles auto`` on the command line: a small person is found, and what it cost is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from coco_documents import coco_document
from foreign_models import box_outputs, write_outputs, write_simcc
from run_cli import json_lines, json_records, write_dot_video
from run_main import run_main
from slimpose.arrays import Size
from synthetic_models import dot_image, write_detector_model, write_pose_model

SIZE = Size(300, 400)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pose_model(tmp_path / "pose.onnx")
    write_detector_model(tmp_path / "boxes.onnx")
    cv2.imwrite("street.png", dot_image(SIZE, 100, 90))
    return ["--model", "pose.onnx", "--detector", "boxes.onnx"]


def test_predict_finds_who_is_small(models: list[str], capsys: Any) -> None:
    """In the whole image, shrunk to a quarter, the white dot is too gray to be a person."""
    assert run_main("predict", "street.png", *models, "--json", "plain.json") == 0
    assert json_records(Path("plain.json")) == []
    assert "tiles" not in capsys.readouterr().out
    options = [*models, "--json", "tiles.json", "--tiles", "auto"]
    assert run_main("predict", "street.png", *options) == 0
    assert len(json_records(Path("tiles.json"))) >= 1
    assert "tiles: the detector ran " in capsys.readouterr().out


def test_live_takes_tiles(models: list[str], capsys: Any) -> None:
    write_dot_video("walk.mp4", 4)
    assert run_main("live", "walk.mp4", *models, "--tiles", "auto", "--jsonl", "p.jsonl") == 0
    assert len(json_lines(Path("p.jsonl").read_text())) == 4
    assert "tiles: the detector ran " in capsys.readouterr().out


def test_evaluate_takes_tiles(capsys: Any) -> None:
    pytest.importorskip("pycocotools")
    document = coco_document()
    document["images"][0] |= {"height": SIZE.height, "width": SIZE.width}
    Path("truth.json").write_text(json.dumps(document))
    data = ["--annotations", "truth.json", "--images", ".", "--json", "figures.json"]
    assert run_main("evaluate", "boxes.onnx", *data, "--tiles", "auto") == 0
    figures = json.loads(Path("figures.json").read_text())
    assert figures["tiles"] == "auto"
    assert figures["detector_runs_per_image"] > 1
    options = ["--boxes", "detector", "--detector", "boxes.onnx", "--tiles", "auto"]
    assert run_main("evaluate", "pose.onnx", *data, *options) == 0
    assert json.loads(Path("figures.json").read_text())["tiles"] == "auto"
    capsys.readouterr()
    assert run_main("evaluate", "pose.onnx", *data, "--tiles", "auto") == 2
    assert "expected --boxes detector" in capsys.readouterr().err


def test_tiles_without_a_detector_are_rejected(models: list[str], capsys: Any) -> None:
    Path("b.json").write_text(json.dumps(coco_document()))
    options = ["--model", models[1], "--boxes", "b.json", "--tiles", "auto"]
    assert run_main("predict", "street.png", *options) == 2
    assert "--boxes are used instead of a detector; expected no --tiles" in capsys.readouterr().err
    assert run_main("predict", "street.png", *models, "--tiles", "many") == 2
    assert "--tiles" in capsys.readouterr().err


def test_tiles_of_a_detector_of_another_project(capsys: Any) -> None:
    """Its constant box is found in every tile: merged where they overlap, and never lost."""
    write_simcc(Path("rtm.onnx"))
    write_outputs(Path("pico.onnx"), Size(96, 64), box_outputs()["picodet"])
    cv2.imwrite("large.png", np.full((400, 300, 3), 90, np.uint8))
    files = ["--model", "rtm.onnx", "--detector", "pico.onnx", "--json", "p.json"]
    assert run_main("predict", "large.png", *files, "--tiles", "auto") == 0
    assert len(json_records(Path("p.json"))) > 1
    assert "tiles: the detector ran " in capsys.readouterr().out
