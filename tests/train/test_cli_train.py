"""``slimpose train``: its options, and what they make of a recipe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_models import write_heatmaps
from slimpose.cli import train as command
from slimpose.cli.main import main
from slimpose.cli.train import DataOptions
from slimpose.network.build import net_from_metadata
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, save_checkpoint
from slimpose.train import distillation
from slimpose.train.options import RecipeOptions
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES
from slimpose.train.run import BEST, METRICS
from tiny_training import tiny_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def train(
    people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Return a function that runs ``slimpose train tiny`` in ``tmp_path`` with recipe options."""
    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    # It would affect the rest of the suite.
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)
    file = people_folder / "people.json"
    data = DataOptions(train=file, images=people_folder, val=file, val_images=people_folder)

    def run(
        *,
        out: Path = tmp_path,
        start: str | None = None,
        resume: bool = False,
        stop_after_minutes: float = float("inf"),
        **options: object,
    ) -> int:
        return command.train(
            "tiny",
            out=out,
            data=data,
            options=RecipeOptions(**options),  # pyright: ignore[reportArgumentType]
            start=start,
            resume=resume,
            threads=1,
            stop_after_minutes=stop_after_minutes,
        )

    return run


def test_cached_teacher_and_labeled_only(
    train: Callable[..., int], weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError,
        match="--cached-teacher and --labeled-only are for pose networks with a --teacher",
    ):
        train(labeled_only=True)
    assert train(teacher=weights, cached_teacher=True, labeled_only=True) == 0
    peaks = load_checkpoint(tmp_path / distillation.TEACHER_CACHE).tensors["peaks"]
    assert tuple(peaks.shape) == (6, 17, 2, 3)
    recipe = Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"])
    assert recipe == dataclasses.replace(
        tiny_recipe().with_cached_teacher(), distillation_weight=0.5, distill_unlabeled=False
    )


def test_heatmap_network_of_another_project_teaches(
    train: Callable[..., int], tmp_path: Path
) -> None:
    teacher = write_heatmaps(tmp_path / "theirs.onnx")
    assert train(teacher=teacher) == 0
    metadata = load_checkpoint(tmp_path / BEST).metadata
    assert metadata["teacher"].startswith("theirs.onnx ")
    assert Recipe.from_json(metadata["recipe"]).distillation_weight == 0.5


@pytest.mark.usefixtures("train")
def test_invalid_distillation_weight_is_rejected(
    people_folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = str(people_folder / "people.json"), str(people_folder)
    arguments = ["train", "tiny", "--out", str(tmp_path), "--train", file, "--images", folder]
    arguments += ["--val", file, "--val-images", folder, "--teacher", str(weights)]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--distillation-weight", "1.5"])
    assert "slimpose: distillation_weight is 1.5; expected 0 to 1" in capsys.readouterr().err


def test_distilled_recipe_needs_a_teacher_or_weight_0(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled = tiny_recipe(distillation_weight=0.5, feature_distillation_weight=0.5)
    monkeypatch.setitem(RECIPES, "tiny", lambda: distilled)
    for weight, share in ((None, "0.5"), (0.7, "0.7")):
        with pytest.raises(
            ValueError,
            match=f"tiny with a distillation weight of {share} needs a teacher; pass --teacher",
        ):
            train(distillation_weight=weight)
    assert train(distillation_weight=0.0) == 0
    assert Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"]) == tiny_recipe()


def test_alignment_of_the_start_weights_is_kept(
    train: Callable[..., int], weights: Path, tmp_path: Path
) -> None:
    start = load_checkpoint(weights)
    path, out = tmp_path / "start.safetensors", tmp_path / "run"
    save_checkpoint(path, start.tensors, start.metadata | {"alignment": "multiples"})
    assert train(out=out, start=str(path), stop_after_minutes=0) == 0
    assert train(out=out, resume=True) == 0
    saved = load_checkpoint(out / BEST)
    assert saved.metadata["alignment"] == "multiples"
    net = net_from_metadata(saved.metadata)
    assert isinstance(net, PoseNet)
    assert net.alignment == "multiples"
    logged = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    assert len(logged) == tiny_recipe().steps


def test_log_has_lines_of_progress(
    train: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LOG_LINE_S", 0.0)
    assert train() == 0
    lines = capsys.readouterr().out.splitlines()
    steps = tiny_recipe().steps
    assert lines[0].endswith(f" steps of {tiny_recipe().batch} samples")
    progress = [line for line in lines if " samples/s, " in line]
    assert len(progress) == steps
    assert progress[-1].startswith(f"samples {steps * tiny_recipe().batch} of ")
    assert progress[-1].endswith(" 0 min left")
