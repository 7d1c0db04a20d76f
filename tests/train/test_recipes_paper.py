"""The paper's rows as recipes: what they say, and that each can be trained, evaluated and exported."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.export import onnx as onnx_export
from slimpose.formats import coco
from slimpose.network.cost import cost_of_spec
from slimpose.network.paper_tables import ROWS, PaperRow
from slimpose.network.weights import load_network, save_checkpoint
from slimpose.train.pose_task import pose_task
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES
from slimpose.train.recipes.ablation import NETS
from slimpose.train.recipes.paper import DISTILLED, compared_nets, paper_nets, recipe_name
from slimpose.train.run import BEST, METRICS, load_start, run

COCO_PEOPLE = 149_813
QUICK = ("paper-r18-16", "paper-b1-128x96", "efficientpose-a")


pytestmark = pytest.mark.usefixtures("one_thread")


# what they say


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_recipe_of_its_own_net(row: PaperRow) -> None:
    recipe = RECIPES[recipe_name(row)]()
    assert recipe.name == recipe_name(row)
    assert recipe.net == row.spec
    assert [phase.size for phase in recipe.phases] == [row.spec.size]


def test_rows_that_are_the_same_net_share_a_recipe_and_no_others_do() -> None:
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
def test_names_are_the_rows_own(row: str, name: str) -> None:
    assert recipe_name(next(found for found in ROWS if found.id == row)) == name


def test_the_paper_trains_140_epochs_and_divides_the_rate_by_ten_after_90_and_120() -> None:
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


def test_only_the_distilled_one_learns_from_a_teacher() -> None:
    assert {name for name in paper_nets() if RECIPES[name]().distillation_weight} == {DISTILLED}
    assert RECIPES[DISTILLED]() == dataclasses.replace(
        RECIPES["paper-b1"](), name=DISTILLED, distillation_weight=0.5
    )


def test_the_modern_recipe_stays_under_half_a_gmac() -> None:
    recipe = RECIPES["beyond"]().with_epochs_counted(COCO_PEOPLE)
    assert cost_of_spec(recipe.net).gmac <= 0.50
    assert recipe.samples == pytest.approx(420 * COCO_PEOPLE, rel=1e-3)


def test_its_rate_climbs_stays_and_falls() -> None:
    recipe = RECIPES["beyond"]().with_epochs_counted(10_000)
    rates = [recipe.rate_at(step) for step in range(recipe.steps)]
    flat_until = int((recipe.warmup_share + recipe.flat) * recipe.steps)
    climbed = int(recipe.warmup_share * recipe.steps) + 1
    assert rates[0] < 0.1
    assert set(rates[climbed:flat_until]) == {1.0}
    assert rates[flat_until:] == sorted(rates[flat_until:], reverse=True)
    assert rates[-1] < 0.001


def test_ablations_differ_from_the_base_in_one_thing() -> None:
    base = RECIPES["ablation-base"]()
    assert base.samples == 60_000
    assert base.net.size == Size(128, 96)
    for setting, net in NETS.items():
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


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_comes_back_from_its_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert Recipe.from_json(recipe.to_json()) == recipe


# each can be trained, evaluated and exported


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in (*paper_nets(), *compared_nets())
    ],
)
def test_a_net_is_built_trained_evaluated_and_exported(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    recipe = (
        dataclasses.replace(RECIPES[name](), batch=2, evaluations=1, distillation_weight=0.0)
        .with_epochs_counted(6)
        .scaled(4 / (140 * 6))
    )
    assert recipe.steps == 2
    torch.manual_seed(0)
    people = coco.read(pictures / "people.json", keypoints=True)
    task = pose_task(recipe, train=people, train_images=pictures, val=people, val_images=pictures)
    steps = list(run(task, recipe, tmp_path / "run", resume=False, notes={}))
    assert [progress.step.number for progress in steps] == [0, 1]
    assert steps[-1].figures is not None
    assert 0 <= steps[-1].figures["AP"] <= 1
    exported = tmp_path / "net.onnx"
    loaded = load_network(tmp_path / "run" / BEST)
    assert loaded.spec == recipe.net
    onnx_export.export(
        loaded, exported, name=name, card={}
    )  # compares with PyTorch before it writes
    assert exported.is_file()


def test_a_compared_net_starts_from_its_own_weights_and_from_nothing_else(
    pictures: Path, tmp_path: Path
) -> None:
    recipe = RECIPES["efficientpose-a"]()
    assert recipe.start == ""
    assert RECIPES["simplebaseline-r50"]().start == "imagenet"
    people = coco.read(pictures / "people.json", keypoints=True)
    task = pose_task(recipe, train=people, train_images=pictures, val=people, val_images=pictures)
    with pytest.raises(ValueError, match="efficientpose-a has no encoder to start from imagenet"):
        load_start(task, recipe, "imagenet")
    own = tmp_path / "own.safetensors"
    tensors = {name: torch.full_like(tensor, 2) for name, tensor in task.model.state_dict().items()}
    save_checkpoint(own, tensors, {"start": "elsewhere"})
    assert load_start(task, recipe, str(own)) == "own.safetensors (elsewhere)"
    assert all((tensor == 2).all() for tensor in task.model.state_dict().values())


# slimpose paper


def run_main(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def write_run(folder: Path, recipe: Recipe, *, steps: int, ap: float) -> None:
    """A run's folder as ``run`` leaves it, the weights left out."""
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
    write_run(folder / "b", short("paper-r18-32"), steps=3, ap=0.4)  # of 5: not finished
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


def test_a_row_is_measured_where_a_finished_run_of_its_recipe_is(runs: Path, capsys: Any) -> None:
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
    for told in measured.values():
        assert [(one["ap"], one["boxes"], one["flip"]) for one in told] == [
            (50.0, "gt", False),
            (62.5, "detections.json", True),
        ]
        assert {(one["samples"], one["trained_on"], one["run"]) for one in told} == {
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


def test_the_table_says_not_run_and_what_is_unfinished(
    runs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_main("paper", "--runs", runs) == 0
    text = capsys.readouterr().out
    assert text.count("not run") == len(ROWS) + 1 - 5
    assert re.search(r"IV\s+│ EfficientNet-B1\s+│\s+0\.56 │\s+69\.7 │\s+50\.0 │ gt", text)
    assert f"{runs / 'b'} is left out: unfinished, 3 of 5 steps" in text.replace("\n", "")


def test_no_folder_of_runs_is_told(tmp_path: Path, capsys: Any) -> None:
    assert run_main("paper", "--runs", tmp_path / "nowhere") == 2
    assert "no folder of runs" in capsys.readouterr().err
