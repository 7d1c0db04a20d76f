"""Recipes: their schedules, their epochs, their JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from slimpose.arrays import Size

pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from slimpose.data.augment import Augmentation
from slimpose.train.recipe import Phase, Recipe
from tiny_training import SIZE, tiny_recipe

# the schedule


def test_the_rate_climbs_then_falls_to_nothing() -> None:
    recipe = dataclasses.replace(tiny_recipe(), phases=(Phase(size=Size(64, 64), samples=400),), warm_up=0.1)
    rates = [recipe.rate_at(step) for step in range(recipe.steps)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 <= rates[-1] < 0.01


def test_the_phases_follow_each_other() -> None:
    recipe = tiny_recipe()
    assert recipe.steps == 12
    sizes = [recipe.phase_at(step).size for step in range(14)]
    assert sizes == [Size(32, 32)] * 6 + [Size(64, 64)] * 8  # the last one goes on for the batches made ahead


def test_epochs_become_samples_once_the_data_are_known() -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), phases=(Phase(size=SIZE, epochs=2.5), Phase(size=SIZE, samples=24, augmentation=0.5))
    )
    counted = recipe.counted(100)
    assert counted.phases == (Phase(size=SIZE, samples=250), Phase(size=SIZE, samples=24, augmentation=0.5))
    assert counted.counted(7) == counted


def test_a_shortened_recipe_keeps_a_step_of_every_phase() -> None:
    assert tiny_recipe().scaled(0.01).steps == 2
    assert tiny_recipe().scaled(2.0).steps == 24


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha is {alpha:g}; expected 0 to 1"):
        dataclasses.replace(tiny_recipe(), alpha=alpha)
    written = json.loads(tiny_recipe().to_json()) | {"alpha": alpha}
    with pytest.raises(ValueError, match=f"alpha is {alpha:g}; expected 0 to 1"):
        Recipe.from_json(json.dumps(written))


# as JSON


def test_a_recipe_written_to_metadata_tells_every_setting() -> None:
    recipe: Recipe = tiny_recipe()
    written = json.loads(recipe.to_json())
    assert written.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert written["augmentation"] == dataclasses.asdict(Augmentation())
    assert recipe.to_json() != tiny_recipe(seed=1).to_json()


def test_a_recipe_of_an_earlier_version_is_taught_as_it_was() -> None:
    written = json.loads(tiny_recipe().to_json())
    for phase in written["phases"]:
        del phase["taught_once"]
    for taught in (True, False):
        read = Recipe.from_json(json.dumps(written | {"taught_once": taught}))
        assert [phase.taught_once for phase in read.phases] == [taught, taught]
    assert Recipe.from_json(tiny_recipe().to_json()) == tiny_recipe()
