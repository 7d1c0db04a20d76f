"""Recipes: their schedules, their epochs, their JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.network.weights import save_checkpoint
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.recipes import recipe_of
from tiny_training import SIZE, tiny_recipe

# the schedule


def test_the_rate_climbs_then_falls_to_nothing() -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), phases=(Phase(size=Size(64, 64), samples=400),), warmup_share=0.1
    )
    rates = [recipe.rate_at(step) for step in range(recipe.steps)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 <= rates[-1] < 0.01


def test_the_phases_follow_each_other() -> None:
    recipe = tiny_recipe()
    assert recipe.steps == 12
    sizes = [recipe.phase_at(step).size for step in range(14)]
    assert (
        sizes == [Size(32, 32)] * 6 + [Size(64, 64)] * 8
    )  # the last one goes on for the batches made ahead


def test_epochs_become_samples_once_the_data_are_known() -> None:
    recipe = dataclasses.replace(
        tiny_recipe(),
        phases=(Phase(size=SIZE, epochs=2.5), Phase(size=SIZE, samples=24, augmentation=0.5)),
    )
    counted = recipe.with_epochs_counted(100)
    assert counted.phases == (
        Phase(size=SIZE, samples=250),
        Phase(size=SIZE, samples=24, augmentation=0.5),
    )
    assert counted.with_epochs_counted(7) == counted


def test_a_shortened_recipe_keeps_a_step_of_every_phase() -> None:
    assert tiny_recipe().scaled(0.01).steps == 2
    assert tiny_recipe().scaled(2.0).steps == 24


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha is {alpha:g}; expected 0 to 1"):
        dataclasses.replace(tiny_recipe(), distillation_weight=alpha)
    written = json.loads(tiny_recipe().to_json()) | {"distillation_weight": alpha}
    with pytest.raises(ValueError, match=f"alpha is {alpha:g}; expected 0 to 1"):
        Recipe.from_json(json.dumps(written))


# as JSON


def test_a_recipe_written_to_metadata_tells_every_setting() -> None:
    recipe: Recipe = tiny_recipe()
    written = json.loads(recipe.to_json())
    assert written.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert written["augmentation"] == dataclasses.asdict(Augmentation())
    assert recipe.to_json() != tiny_recipe(seed=1).to_json()


# of a file


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_file_changes_a_recipe_and_nothing_else(tmp_path: Path) -> None:
    text = """
        extends = "mnv2"
        alpha = 0.7
        learning_rate = 1
        mirrored_teacher = true
        augmentation.blend = 0.3
        source_repeats.mine = 3
        net.head_width = 48
        net.size = "288x224"
        [[phases]]
        size = "192x160"
        samples = 640
        augmentation = 0.5
        [[phases]]
        size = [256, 192]
        epochs = 2.5
    """
    base, mine = recipe_of("mnv2"), recipe_of(written(tmp_path, text))
    assert mine == dataclasses.replace(
        base,
        name="mine",
        distillation_weight=0.7,
        learning_rate=1,
        mirrored_teacher=True,
        augmentation=dataclasses.replace(base.augmentation, mixup=0.3),
        source_repeats=base.source_repeats | {"mine": 3},
        net=dataclasses.replace(base.net, head_width=48, size=Size(288, 224)),  # pyright: ignore[reportArgumentType]
        phases=(
            Phase(size=Size(192, 160), samples=640, augmentation=0.5),
            Phase(size=Size(256, 192), epochs=2.5),
        ),
    )
    assert Recipe.from_json(mine.to_json()) == mine


def test_a_file_extends_another(tmp_path: Path) -> None:
    first = written(tmp_path, 'extends = "mnv2"\nalpha = 0.7')
    second = tmp_path / "second.toml"
    second.write_text(f'extends = "{first}"\nbatch = 64')
    assert recipe_of(str(second)) == dataclasses.replace(
        recipe_of("mnv2"), name="second", distillation_weight=0.7, batch=64
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "alpha = 0.7",
            r"mine\.toml does not say which recipe it changes; expected for example extends = \"mnv2\"",
        ),
        (
            'extends = "mnv3"',
            "no recipe is named 'mnv3'; expected FILE.toml, or one of mnv2, teacher",
        ),
        (
            'extends = "mnv2"\nalpa = 0.7',
            r"mine\.toml: there is no setting alpa; expected one of name, task, net",
        ),
        (
            'extends = "mnv2"\nnet.head = 4',
            r"there is no setting net\.head; expected one of encoder, head_width",
        ),
        ('extends = "mnv2"\nalpha = "all"', "alpha is 'all'; expected a number"),
        ('extends = "mnv2"\nalpha = 2', "alpha is 2; expected 0 to 1"),
        ('extends = "mnv2"\nbatch = 8.5', r"batch is 8\.5; expected a whole number"),
        ('extends = "mnv2"\naugmentation = 0.5', r"augmentation is 0\.5; expected a table"),
        ('extends = "mnv2"\nseed = true', "seed is True; expected a whole number"),
        ('extends = "mnv2"\nalpha = 2026-11-28', r"alpha is datetime\.date.*; expected a number"),
        (
            'extends = "mnv2"\n[[phases]]\nsamples = 9',
            "a phase has no size; expected for example 256x192",
        ),
        ('extends = "mnv2"\n[[phases]]\nsize = "big"', "size 'big' is not HEIGHTxWIDTH"),
        (
            'extends = "mnv2"\n[[phases]]\nsize = "64x64"\nsteps = 9',
            r"there is no setting phases\.steps; expected one of",
        ),
        ('extends = "mnv2"\nphases = [1]', "this does not describe a recipe"),
        ('extends = "mnv2', r"mine\.toml is not TOML: .* \(recipe expected\)"),
    ],
)
def test_a_file_that_is_no_recipe_tells_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        recipe_of(written(tmp_path, text))


def test_weights_tell_the_run_that_made_them(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"recipe": tiny_recipe().to_json()})
    assert recipe_of(str(path)) == tiny_recipe()
    save_checkpoint(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="does not tell a recipe"):
        recipe_of(str(path))
    for missing in ("no.toml", "no.safetensors"):
        with pytest.raises(FileNotFoundError, match=missing):
            recipe_of(str(tmp_path / missing))
