from __future__ import annotations

import dataclasses
import json

import pytest

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.train.recipe import Phase, Recipe
from tiny_training import SIZE, tiny_recipe

# the schedule


def test_learning_rate_warms_up_then_decays() -> None:
    recipe = tiny_recipe(phases=(Phase(size=Size(64, 64), samples=400),), warmup_share=0.1)
    rates = [recipe.rate_at(step) for step in range(recipe.steps)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 <= rates[-1] < 0.01


def test_phases_follow_each_other() -> None:
    recipe = tiny_recipe()
    assert recipe.steps == 12
    sizes = [recipe.phase_at(step).size for step in range(14)]
    # The last one continues, for prefetched batches.
    assert sizes == [Size(32, 32)] * 6 + [Size(64, 64)] * 8


def test_epochs_are_converted_to_samples() -> None:
    recipe = tiny_recipe(
        phases=(Phase(size=SIZE, epochs=2.5), Phase(size=SIZE, samples=24, augmentation=0.5)),
    )
    counted = recipe.with_epochs_counted(100)
    assert counted.phases == (
        Phase(size=SIZE, samples=250),
        Phase(size=SIZE, samples=24, augmentation=0.5),
    )
    assert counted.with_epochs_counted(7) == counted


def test_shortened_recipe_keeps_a_step_of_every_phase() -> None:
    assert tiny_recipe().scaled(0.01).steps == 2
    assert tiny_recipe().scaled(2.0).steps == 24


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_invalid_distillation_weight_is_rejected(weight: float) -> None:
    with pytest.raises(ValueError, match=f"distillation_weight is {weight:g}; expected"):
        tiny_recipe(distillation_weight=weight)
    written = json.loads(tiny_recipe().to_json()) | {"distillation_weight": weight}
    with pytest.raises(ValueError, match=f"distillation_weight is {weight:g}; expected"):
        Recipe.from_json(json.dumps(written))


def test_json_contains_every_setting() -> None:
    recipe: Recipe = tiny_recipe()
    written = json.loads(recipe.to_json())
    assert written.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert written["augmentation"] == dataclasses.asdict(Augmentation())
    assert recipe.to_json() != tiny_recipe(seed=1).to_json()
