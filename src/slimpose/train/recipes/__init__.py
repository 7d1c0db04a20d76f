"""The named recipes: functions that return a run as data; docstrings say command, hardware and result."""

from __future__ import annotations

from collections.abc import Callable

from slimpose.train.recipe import Recipe
from slimpose.train.recipes.small_data import detector, mnv2, teacher

RECIPES: dict[str, Callable[[], Recipe]] = {"mnv2": mnv2, "teacher": teacher, "detector": detector}
