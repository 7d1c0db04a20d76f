"""Recipes by name, from TOML files and from weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from slimpose.arrays import Size
from slimpose.network.weights import save_checkpoint
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.recipes import RECIPES, load_recipe
from tiny_training import tiny_recipe


def write_toml(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", list(RECIPES))
def test_json_round_trip(name: str) -> None:
    recipe = RECIPES[name]()
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_file_changes_only_what_it_names(tmp_path: Path) -> None:
    text = """
        extends = "mnv2"
        distillation_weight = 0.7
        learning_rate = 1
        mirrored_teacher = true
        augmentation.mixup = 0.3
        source_repeats.mine = 3
        net.head_width = 48
        net.size = "288x224"
        [[phases]]
        size = "192x160"
        teacher_size = "256x224"
        samples = 640
        augmentation = 0.5
        [[phases]]
        size = [256, 192]
        epochs = 2.5
    """
    base, changed = load_recipe("mnv2"), load_recipe(write_toml(tmp_path, text))
    assert changed == dataclasses.replace(
        base,
        name="mine",
        distillation_weight=0.7,
        learning_rate=1,
        mirrored_teacher=True,
        augmentation=dataclasses.replace(base.augmentation, mixup=0.3),
        source_repeats=base.source_repeats | {"mine": 3},
        net=dataclasses.replace(base.net, head_width=48, size=Size(288, 224)),  # pyright: ignore[reportArgumentType]
        phases=(
            Phase(size=Size(192, 160), teacher_size=Size(256, 224), samples=640, augmentation=0.5),
            Phase(size=Size(256, 192), epochs=2.5),
        ),
    )
    assert Recipe.from_json(changed.to_json()) == changed


def test_file_extends_another_file(tmp_path: Path) -> None:
    first = write_toml(tmp_path, 'extends = "mnv2"\ndistillation_weight = 0.7')
    second = tmp_path / "second.toml"
    second.write_text(f'extends = "{first}"\nbatch = 64')
    assert load_recipe(str(second)) == dataclasses.replace(
        load_recipe("mnv2"), name="second", distillation_weight=0.7, batch=64
    )


def test_network_is_exported_at_the_size_of_the_last_phase(tmp_path: Path) -> None:
    phases = '[[phases]]\nsize = "128x96"\nsamples = 32\n'
    path = write_toml(tmp_path, f'extends = "mnv2"\n{phases}')
    assert load_recipe(str(path)).net.size == Size(128, 96)
    path = write_toml(tmp_path, f'extends = "mnv2"\n{phases}[net]\nsize = [160, 128]')
    assert load_recipe(str(path)).net.size == Size(160, 128)


BASE = 'extends = "mnv2"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "batch = 8",
            r"mine\.toml does not name the recipe it changes; expected for example extends =",
        ),
        (
            'extends = "mnv3"',
            "no recipe is named 'mnv3'; expected FILE.toml, or one of own, own-detector",
        ),
        ('extends = "mnv2', r"mine\.toml is not TOML: .* \(recipe expected\)"),
        (
            BASE + "rate = 7",
            r"mine\.toml: there is no setting rate; expected one of name, task, net",
        ),
        (
            BASE + "net.head = 4",
            r"there is no setting net\.head; expected one of size, encoder",
        ),
        (BASE + 'ema = "all"', "ema is 'all'; expected a number"),
        (BASE + "distillation_weight = 2", "distillation_weight is 2; expected 0 to 1"),
        (BASE + "batch = 8.5", r"batch is 8\.5; expected an integer"),
        (BASE + "augmentation = 0.5", r"augmentation is 0\.5; expected a table"),
        (BASE + "seed = true", "seed is True; expected an integer"),
        (BASE + "ema = 2026-11-28", r"ema is datetime\.date.*; expected a number"),
        (
            BASE + "[[phases]]\nsamples = 9",
            r"phases\[0\] has no size; expected for example 256x192",
        ),
        (BASE + '[[phases]]\nsize = "big"', "size 'big' is not HEIGHTxWIDTH"),
        (
            BASE + '[[phases]]\nsize = "9x9"\nlr = 9',
            r"there is no setting phases\.lr; expected one of",
        ),
        (BASE + "phases = [1]", r"phases\[0\] is 1; expected a table"),
    ],
)
def test_invalid_recipe_file_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(write_toml(tmp_path, text))


def test_recipe_is_read_from_weights(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"recipe": tiny_recipe().to_json()})
    assert load_recipe(str(path)) == tiny_recipe()
    save_checkpoint(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="contains no recipe"):
        load_recipe(str(path))
    for missing in ("no.toml", "no.safetensors"):
        with pytest.raises(FileNotFoundError, match=missing):
            load_recipe(str(tmp_path / missing))
