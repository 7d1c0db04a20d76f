"""Runs the ``>>>`` examples in the package's docstrings."""

from __future__ import annotations

import doctest
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

import slimpose

PACKAGE = Path(slimpose.__file__).parent
NEEDS_TORCH = ("network", "train", "export", "compare")


def modules_with_examples() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in NEEDS_TORCH and not find_spec("torch"):
            continue
        if ">>> " in path.read_text(encoding="utf-8"):
            names.append(".".join(("slimpose", *parts)).removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_core_modules_have_examples() -> None:
    core = {f"slimpose.{name}" for name in ("arrays", "geometry", "heatmap", "poses", "skeleton")}
    assert core <= set(modules_with_examples())
