"""Labels that a model proposed and a person corrected come back into training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from run_cli import write_dot, write_models
from run_main import run_main
from slimpose.cli import train as command
from slimpose.network.weights import load_checkpoint
from slimpose.train.recipes import RECIPES
from slimpose.train.run import BEST
from tiny_training import tiny_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def test_corrected_proposals_are_trained_on_from_earlier_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)
    models = write_models(tmp_path / "models")
    for number in range(4):
        write_dot(f"photos/{number}.png", 30 + 8 * number)
    assert run_main("label", "photos", *models, "--out", "labels.json") == 0
    labels = json.loads(Path("labels.json").read_text())
    for one in labels["annotations"]:
        one["keypoints"] = [5 + n if n % 3 < 2 else 2 for n in range(51)]
    Path("corrected.json").write_text(json.dumps(labels))
    data = ["--train", "corrected.json", "--images", "photos"]
    val = ["--val", "corrected.json", "--val-images", "photos"]
    options = ["--start", weights, "--out", "run", "--threads", "1"]
    assert run_main("train", "tiny", *data, *val, *options) == 0
    assert "start" in load_checkpoint(tmp_path / "run" / BEST).metadata
