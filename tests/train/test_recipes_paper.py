"""Recipes of the paper: their settings, a run of each network, and ``slimpose paper``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from run_main import run_main
from slimpose.arrays import Size
from slimpose.export import onnx as onnx_export
from slimpose.network.cost import cost_of_spec
from slimpose.network.paper_tables import ROWS, PaperRow
from slimpose.network.weights import load_network, save_checkpoint
from slimpose.train.pose_task import PoseTask
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES
from slimpose.train.recipes.paper import (
    ABLATION_NETS,
    DISTILLED,
    compared_nets,
    paper_nets,
    recipe_name,
)
from slimpose.train.run import BEST, METRICS, run
from tiny_training import training_data

COCO_PEOPLE = 149_813
QUICK = ("paper-r18-16", "paper-b1-128x96", "efficientpose-a")

pytestmark = pytest.mark.usefixtures("one_thread")

# settings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_recipe_of_its_network(row: PaperRow) -> None:
    recipe = RECIPES[recipe_name(row)]()
    assert recipe.name == recipe_name(row)
    assert recipe.net == row.spec
    assert [phase.size for phase in recipe.phases] == [row.spec.size]


def test_only_rows_of_the_same_network_share_a_recipe() -> None:
    assert len({row.spec for row in ROWS}) == len({recipe_name(row) for row in ROWS})
    shared = [row.id for row in ROWS if recipe_name(row) == "paper-b1"]
    assert shared == ["III:256x192", "IV:EfficientNet-B1", "V:3-levels", "VI:40-32", "VII:none"]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("III:128x96", "paper-b1-128x96"),
        ("IV:ResNet-18-32", "paper-r18-32"),
        ("IV:EfficientNet-B6", "paper-b6"),
        ("V:2-levels", "paper-levels-2"),
        ("VI:320-256", "paper-widths-320-256"),
        ("VII:sum", "paper-skip-sum"),
    ],
)
def test_recipe_names_follow_the_rows(row: str, name: str) -> None:
    assert recipe_name(next(found for found in ROWS if found.id == row)) == name


def test_paper_schedule_has_140_epochs_with_drops_after_90_and_120() -> None:
    recipe = RECIPES["paper-b1"]().with_epochs_counted(COCO_PEOPLE)
    assert recipe.samples == 140 * COCO_PEOPLE
    an_epoch = COCO_PEOPLE / recipe.batch
    rates = {
        epoch: recipe.learning_rate * recipe.rate_at(int(epoch * an_epoch))
        for epoch in (0, 89.9, 90.1, 119.9)
    }
    assert rates == pytest.approx({0: 1e-3, 89.9: 1e-3, 90.1: 1e-4, 119.9: 1e-4})
    assert recipe.learning_rate * recipe.rate_at(int(120.1 * an_epoch)) == pytest.approx(1e-5)
    assert (recipe.weight_decay, recipe.ema, recipe.batch, recipe.start) == (0, 0, 64, "imagenet")
    assert recipe.sigma_share * recipe.net.heatmap_size.height == 2


def test_only_the_distilled_recipe_has_a_teacher() -> None:
    assert {name for name in paper_nets() if RECIPES[name]().distillation_weight} == {DISTILLED}
    assert RECIPES[DISTILLED]() == dataclasses.replace(
        RECIPES["paper-b1"](), name=DISTILLED, distillation_weight=0.5
    )


def test_beyond_stays_under_half_a_gmac() -> None:
    recipe = RECIPES["beyond"]().with_epochs_counted(COCO_PEOPLE)
    assert cost_of_spec(recipe.net).gmac <= 0.50
    assert recipe.samples == pytest.approx(420 * COCO_PEOPLE, rel=1e-3)


def test_learning_rate_of_beyond_rises_stays_and_decays() -> None:
    recipe = RECIPES["beyond"]().with_epochs_counted(10_000)
    rates = [recipe.rate_at(step) for step in range(recipe.steps)]
    flat_until = int((recipe.warmup_share + recipe.flat) * recipe.steps)
    warm = int(recipe.warmup_share * recipe.steps) + 1
    assert rates[0] < 0.1
    assert set(rates[warm:flat_until]) == {1.0}
    assert rates[flat_until:] == sorted(rates[flat_until:], reverse=True)
    assert rates[-1] < 0.001


def test_ablations_differ_from_the_base_in_one_thing() -> None:
    base = RECIPES["ablation-base"]()
    assert base.samples == 60_000
    assert base.net.size == Size(128, 96)
    for setting, net in ABLATION_NETS.items():
        recipe = RECIPES[f"ablation-{setting}"]()
        assert (
            dataclasses.replace(
                recipe, name=base.name, net=base.net, distillation_weight=0.0, seed=0
            )
            == base
        )
        changed = [
            recipe.net != base.net,
            recipe.distillation_weight != base.distillation_weight,
            recipe.seed != base.seed,
        ]
        assert sum(changed) == (setting != "base")
        assert recipe.net == net


# training, evaluation, export


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in (*paper_nets(), *compared_nets())
    ],
)
def test_network_is_trained_evaluated_and_exported(
    name: str, people_folder: Path, tmp_path: Path
) -> None:
    recipe = (
        dataclasses.replace(RECIPES[name](), batch=2, evaluations=1, distillation_weight=0.0)
        .with_epochs_counted(6)
        .scaled(4 / (140 * 6))
    )
    assert recipe.steps == 2
    torch.manual_seed(0)
    task = PoseTask(recipe, training_data(people_folder))
    steps = list(run(task, recipe, tmp_path / "run", resume=False, notes={}))
    assert [progress.step.number for progress in steps] == [0, 1]
    assert steps[-1].figures is not None
    assert 0 <= steps[-1].figures["AP"] <= 1
    exported = tmp_path / "net.onnx"
    loaded = load_network(tmp_path / "run" / BEST)
    assert loaded.spec == recipe.net
    # Compares with PyTorch before it writes.
    onnx_export.export(loaded, exported, name=name, card={})
    assert exported.is_file()


# slimpose paper


def write_run(folder: Path, recipe: Recipe, *, steps: int, ap: float) -> None:
    """Write a run's folder as ``run`` does, without its weights."""
    metadata = {
        "task": "pose",
        "net": recipe.net.to_json(),
        "recipe": recipe.to_json(),
        "samples": str(steps * recipe.batch),
        "figures": json.dumps({"AP": ap}),
        "train_file": "people.json",
        "start": "somewhere",
    }
    save_checkpoint(folder / BEST, {"weight": torch.zeros(1)}, metadata)
    lines = [json.dumps({"step": step}) + "\n" for step in range(steps)]
    (folder / METRICS).write_text("".join(lines) + '{"step": 99, "cut o')


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    def short(name: str) -> Recipe:
        return (
            dataclasses.replace(RECIPES[name](), batch=2)
            .with_epochs_counted(6)
            .scaled(10 / (140 * 6))
        )

    folder = tmp_path / "runs"
    write_run(folder / "a", short("paper-b1"), steps=5, ap=0.5)
    write_run(folder / "b", short("paper-r18-32"), steps=3, ap=0.4)  # of 5: unfinished
    write_run(
        folder / "c",
        dataclasses.replace(short("paper-b0"), net=RECIPES["paper-b2"]().net),
        steps=5,
        ap=0.3,
    )
    write_run(folder / "d", RECIPES["ablation-base"](), steps=5, ap=0.9)
    figures = {"AP": 0.625, "boxes": "detections.json", "flip": True, "decoding": "dark"}
    (folder / "a" / "evaluated.json").write_text(json.dumps(figures))
    (folder / "a" / "without-dark.json").write_text(
        json.dumps({**figures, "AP": 0.1, "decoding": "quarter"})
    )
    (folder / "a" / "results.json").write_text("[]")
    return folder


def test_rows_with_a_finished_run_are_measured(runs: Path, capsys: Any) -> None:
    assert run_main("paper", "--runs", runs, "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert len(entries) == len(ROWS) + 1
    measured = {
        (entry["table"], entry["row"]): entry["measured"] for entry in entries if entry["measured"]
    }
    assert set(measured) == {
        ("III", "256x192"),
        ("IV", "EfficientNet-B1"),
        ("V", "3 levels"),
        ("VI", "40-32"),
        ("VII", "none"),
    }
    for results in measured.values():
        assert [(one["ap"], one["boxes"], one["flip"]) for one in results] == [
            (50.0, "gt", False),
            (62.5, "detections.json", True),
        ]
        assert {(one["samples"], one["trained_on"], one["run"]) for one in results} == {
            (10, "people.json", str(runs / "a"))
        }
    first = entries[0]
    assert (first["table"], first["row"], first["paper_ap"], first["paper_gflops"]) == (
        "III",
        "128x96",
        54.8,
        0.14,
    )
    assert entries[-1]["paper_ap"] == 70.5


def test_table_marks_missing_and_unfinished_runs(
    runs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_main("paper", "--runs", runs) == 0
    text = capsys.readouterr().out
    assert text.count("not run") == len(ROWS) + 1 - 5
    assert re.search(r"IV\s+│ EfficientNet-B1\s+│\s+0\.56 │\s+69\.7 │\s+50\.0 │ gt", text)
    assert f"{runs / 'b'} is left out: unfinished, 3 of 5 steps" in text.replace("\n", "")


def test_missing_runs_folder_is_rejected(tmp_path: Path, capsys: Any) -> None:
    assert run_main("paper", "--runs", tmp_path / "nowhere") == 2
    assert "no folder of runs" in capsys.readouterr().err
