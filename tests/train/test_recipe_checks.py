"""Recipes that cannot be meant are refused, by the name of the setting."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES, load_recipe
from tiny_training import tiny_recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_named_recipes_are_within_the_limits(name: str) -> None:
    assert RECIPES[name]().name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch = 0", "batch is 0; expected an integer 1..1e+06"),
        ("batch = -3", "batch is -3; expected an integer"),
        ("evaluations = 0", "evaluations is 0; expected an integer"),
        ("seed = -1", "seed is -1; expected an integer"),
        ("frozen_stages = -1", "frozen_stages is -1; expected an integer"),
        ("learning_rate = nan", "learning_rate is nan; expected a finite number"),
        ("learning_rate = inf", "learning_rate is inf; expected a finite number"),
        (
            "learning_rate = 0.0",
            "learning_rate is 0.0; expected a finite number above 0 and of at most 10",
        ),
        ("weight_decay = -0.1", "weight_decay is -0.1; expected a finite number"),
        ("encoder_rate = nan", "encoder_rate is nan; expected a finite number"),
        ("warmup_share = 2.0", "warmup_share is 2.0; expected a finite number 0..1"),
        ("flat = 0.99", "warmup_share 0.01 and flat 0.99 are 1 of the run; expected less than"),
        ("ema = 1.0", "ema is 1.0; expected a finite number of 0 or more and below 1"),
        ("sigma_share = 0.0", "sigma_share is 0.0; expected a finite number"),
        ('drops = ["a"]', "drops[0] is 'a'; expected a finite number"),
        ("drops = [0.9, 0.5]", "drops is [0.9, 0.5]; expected shares of the run between 0 and 1"),
        ("drops = [1.5]", "drops is [1.5]; expected shares of the run"),
        ("drops = [nan]", "drops[0] is nan; expected a finite number"),
        ("source_repeats.coco = -1", "source_repeats['coco'] is -1.0; expected a finite number"),
        ("source_repeats.coco = nan", "source_repeats['coco'] is nan; expected a finite number"),
        ("keypoint_confidence.coco = inf", "keypoint_confidence['coco'] is inf; expected"),
        ("augmentation.flip = 1.5", "augmentation.flip is 1.5; expected a finite number 0..1"),
        ("augmentation.scale = 1.0", "augmentation.scale is 1.0; expected a finite number"),
        ("augmentation.rotation_deg = nan", "augmentation.rotation_deg is nan; expected"),
        ("teacher_labels.min_score = -1", "teacher_labels.min_score is -1.0; expected"),
        ('task = "segment"', "task is 'segment'; expected one of pose, detect"),
        ('net.activation = "gelu2"', "net.activation is 'gelu2'; expected one of as-trained, relu"),
        ('net.skip = "add"', "net.skip is 'add'; expected one of none, concat, sum"),
        ("net.head_width = -4", "net.head_width is -4; expected an integer"),
        ("net.deconv_widths = [0]", "net.deconv_widths[0] is 0; expected an integer 1..65536"),
        ("net.deconv_widths = [[1]]", "net.deconv_widths[0] is [1]; expected an integer"),
        ("net.width_multiplier = nan", "net.width_multiplier is nan; expected a finite number"),
        ('net.size = "10x10"', "input size 10x10 is not a multiple of the encoder's stride"),
        ("phases = []", "phases is empty; expected at least one phase"),
        (
            '[[phases]]\nsize = "256x192"\nepochs = inf',
            "phases[0].epochs is inf; expected a finite",
        ),
        ('[[phases]]\nsize = "256x192"\nsamples = -1', "phases[0].samples is -1; expected an int"),
        ('[[phases]]\nsize = "256x190"\nsamples = 9', "phases[0]: input size 256x190 is not a"),
        ("[[phases]]\nsize = [256]\nsamples = 9", "phases[0]: size is [256], 1 values; expected 2"),
        (
            '[[phases]]\nsize = "256x192"\nsamples = 9\nepochs = 2.0',
            "phases[0] has 9 samples and 2 epochs; expected one of both",
        ),
        ('"\\u001b[31m" = 1', r"there is no setting \x1b[31m; expected one of"),
        (f'ema = "{200_000 * "a"}"', "(200000 characters); expected a number"),
    ],
)
def test_recipe_that_cannot_be_meant_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "mnv2"\n{text}\n')
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1000


def test_recipe_that_extends_itself_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "{path}"')
    with pytest.raises(ValueError, match="extends itself; expected another recipe"):
        load_recipe(str(path))


def test_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "mnv2"\nbatch = 8', encoding="utf-8-sig")
    assert load_recipe(str(path)).batch == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net": None}, "net is None; expected an object"),
        ({"phases": None}, "phases is None; expected a list"),
        ({"phases": [None]}, "phases[0] is None; expected a table"),
        (
            {"phases": [{"size": [64, 48], "teacher_size": [96, 64], "cached_teacher": True}]},
            "phases[0]: teacher_size is for a pose network's teacher that runs on every crop",
        ),
        ({"augmentation": None}, "augmentation is None; expected an object"),
        ({"augmentation": {"sharpen": 1}}, "augmentation has the unknown setting 'sharpen'"),
        ({"teacher_labels": []}, "teacher_labels is []; expected an object"),
        ({"drops": 3}, "drops is 3; expected a list"),
        ({"batch": "32"}, "batch is '32'; expected an integer"),
        ({"mirrored_teacher": "no"}, "mirrored_teacher is 'no'; expected true or false"),
        ({"source_repeats": {"a": "b"}}, "source_repeats['a'] is 'b'; expected a finite number"),
        ({"source_repeats": 3}, "source_repeats is 3; expected"),
        ({"color": 3}, "the recipe has the unknown setting 'color'; expected one of name"),
    ],
)
def test_metadata_that_is_no_recipe_is_rejected(changes: dict[str, Any], message: str) -> None:
    written = json.loads(tiny_recipe().to_json()) | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        Recipe.from_json(json.dumps(written))
