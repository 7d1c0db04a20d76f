"""``slimpose train`` on data of one's own: hold-out, folds, sigmas, early stop, experiment logs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drawn_objects import KINDS, write_dataset
from run_main import run_main
from slimpose.arrays import Size
from slimpose.cli import train as command
from slimpose.cli.train_data import DataOptions, read_data
from slimpose.network.weights import load_network, read_metadata
from slimpose.skeleton import Skeleton
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.recipes import RECIPES, load_recipe
from slimpose.train.run import BEST, METRICS, run
from tiny_training import NET, tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(KINDS["animal"], tmp_path_factory.mktemp("animals"), 12)


@pytest.fixture
def options(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run of two steps on animals."""

    def short() -> Recipe:
        return Recipe(
            name="short", task="pose", net=NET, batch=2, evaluations=1,
            phases=(Phase(size=Size(64, 64), samples=4),), sizes_from_boxes=True,
        )  # fmt: skip

    monkeypatch.setitem(RECIPES, "short", short)
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)
    images = str(animals.parent / "images")
    return [
        *("train", "short", "--train", str(animals), "--images", images),
        *("--out", str(tmp_path / "run"), "--threads", "1"),
    ]


def test_own_objects_are_trained_with_images_held_out(
    options: list[str], tmp_path: Path, capsys: Any
) -> None:
    assert run_main(*options) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "sigmas (from 12 instances of labels.json): nose 0.0" in printed
    assert "limbs: 19" in printed
    assert "instances) to measure AP" in printed
    metadata = read_metadata(tmp_path / "run" / BEST)
    skeleton = Skeleton.from_json(metadata["skeleton"])
    assert skeleton.joints == KINDS["animal"].joints
    assert min(skeleton.sigmas) >= 0.025
    assert skeleton.sigma_source == "from 12 instances of labels.json"
    assert load_network(tmp_path / "run" / BEST).spec.task == "pose"
    assert '"joints": 20' in metadata["net"]


def test_random_weights_are_never_frozen(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen stages of random weights would stay random; a resumed run does the same."""
    frozen = dataclasses.replace(RECIPES["short"](), frozen_stages=2)
    monkeypatch.setitem(RECIPES, "short", lambda: frozen)
    assert run_main(*options, "--stop-after-minutes", "0") == 0
    checkpoint = tmp_path / "run/checkpoint.safetensors"
    assert Recipe.from_json(read_metadata(checkpoint)["recipe"]).frozen_stages == 0
    assert run_main(*options, "--resume") == 0
    best = read_metadata(tmp_path / "run" / BEST)
    assert Recipe.from_json(best["recipe"]).frozen_stages == 0


def test_folds_are_trained_one_after_the_other(
    options: list[str], tmp_path: Path, capsys: Any
) -> None:
    assert run_main(*options, "--folds", "2") == 0
    assert "AP of 2 folds: " in capsys.readouterr().out
    figures = json.loads((tmp_path / "run/folds.json").read_text())
    assert len(figures) == 2
    assert all("AP" in one for one in figures)
    assert (tmp_path / "run/fold-1" / BEST).is_file()
    assert (tmp_path / "run/fold-2" / BEST).is_file()


@pytest.mark.parametrize("log", ["tensorboard", "wandb", "mlflow"])
def test_figures_are_logged_into_the_runs_folder(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    assert run_main(*options, "--track-with", log) == 0
    metrics = (tmp_path / "run" / METRICS).read_text().splitlines()
    expected = json.loads(metrics[-1])
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    if log == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        file = next(path for path in written if path.name.startswith("events"))
        events = EventAccumulator(str(file.parent))
        events.Reload()
        (last,) = [event for event in events.Scalars("AP") if event.step == expected["step"]]
        np.testing.assert_allclose(last.value, expected["AP"], rtol=1e-5)
    elif log == "wandb":
        assert any(path.suffix == ".wandb" and path.stat().st_size > 500 for path in written)
    else:
        (file,) = [path for path in written if path.name == "AP" and "metrics" in path.parts]
        assert float(file.read_text().split()[1]) == pytest.approx(expected["AP"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--folds", "1"], "--folds 1; expected a share between 0 and 1, and 2..1000 folds"),
        (["--hold-out", "1"], "--hold-out is 1"),
        (["--folds", "2", "--val", "a.json", "--val-images", "b"], "expected no --val"),
        (["--val", "a.json"], "--val-images missing"),
        (["--track-with", "comet"], "expected tensorboard or wandb or mlflow"),
        (["--start", "mnv3"], "no start file mnv3"),
    ],
)
def test_invalid_option_is_rejected(
    options: list[str], extra: list[str], message: str, capsys: Any
) -> None:
    assert run_main(*options, *extra) == 2
    assert message in capsys.readouterr().err


def test_missing_logger_is_named(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert run_main(*options, "--track-with", "wandb") == 1
    assert "wandb" in capsys.readouterr().err


def test_sided_name_without_partner_stops_with_a_choice(
    options: list[str], animals: Path, tmp_path: Path, capsys: Any
) -> None:
    document = json.loads(animals.read_text())
    names = document["categories"][0]["keypoints"]
    names[names.index("ear.L")] = "horn.L"
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(document))
    options[options.index("--train") + 1] = str(path)
    assert run_main(*options) == 2
    assert "'horn.L', 'ear.R' have a side and no partner" in capsys.readouterr().err
    toml = tmp_path / "skeleton.toml"
    toml.write_text('flip_pairs = [["horn.L", "ear.R"]]\nsigmas = 0.05\n')
    assert run_main(*options, "--skeleton", str(toml)) == 0
    skeleton = Skeleton.from_json(read_metadata(tmp_path / "run" / BEST)["skeleton"])
    assert skeleton.sigmas == (0.05,) * 20
    assert skeleton.flip_pairs == (("horn.L", "ear.R"),)


def test_validation_uses_the_sigmas_of_the_training_set(animals: Path) -> None:
    options = DataOptions(
        train=animals, images=animals.parent, val=animals, val_images=animals.parent
    )
    read = read_data(options, options.layout(), keypoints=True)
    (split,) = read.splits
    assert split.val.skeleton.sigmas == read.skeleton.sigmas != ()


@pytest.mark.parametrize(
    ("shape", "size"),
    [(4 / 3, (256, 192)), (1.0, (224, 224)), (0.6, (160, 288)), (9.0, (320, 160))],
)
def test_crops_have_the_shape_of_the_boxes(shape: float, size: tuple[int, int]) -> None:
    recipe = load_recipe("own").with_shape(shape)
    assert tuple(recipe.net.size) == tuple(recipe.phases[-1].size) == size


def test_run_stops_when_patience_ends(people_folder: Path, tmp_path: Path) -> None:
    """Twelve steps, evaluated after each at one size; AP cannot rise above the first 0."""
    phases = (Phase(size=Size(32, 32), samples=48),)
    recipe = tiny_recipe(phases=phases, evaluations=12, patience=3, learning_rate=1e-9)
    task = tiny_task(recipe, people_folder)
    steps = [
        progress.step.number for progress in run(task, recipe, tmp_path, resume=False, notes={})
    ]
    assert steps == [0, 1, 2, 3]
    again = list(run(task, recipe, tmp_path, resume=True, notes={}))
    assert again == []
    patient = dataclasses.replace(recipe, patience=0)
    assert len(list(run(task, patient, tmp_path / "all", resume=False, notes={}))) == 12
