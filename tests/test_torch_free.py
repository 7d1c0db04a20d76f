from __future__ import annotations

import subprocess
import sys

import pytest

ROOMS = (
    "slimpose",
    "slimpose.arrays",
    "slimpose.skeleton",
    "slimpose.geometry",
    "slimpose.heatmap",
    "slimpose.oks",
    "slimpose.poses",
    "slimpose.draw",
    "slimpose.formats",
    "slimpose.runtime",
    "slimpose.evaluate",
)
"""Rooms that a user's machine runs, with all their modules."""
VERBS = ("main", "predict", "live", "models", "evaluate", "doctor", "benchmark", "plan", "verify")

PROGRAM = """
import importlib, importlib.abc, pkgutil, sys

BLOCKED = {"torch", "torchvision", "timm", "onnx", "safetensors", "accelerate"}

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
        return None

sys.meta_path.insert(0, Block())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the block does not block")

room = importlib.import_module(sys.argv[1])
names = [sys.argv[1]]
if hasattr(room, "__path__") and sys.argv[1] != "slimpose":
    names += [found.name for found in pkgutil.walk_packages(room.__path__, sys.argv[1] + ".")]
for name in names:
    importlib.import_module(name)
print("imported", len(names))
"""


@pytest.mark.parametrize("module", [*ROOMS, *(f"slimpose.cli.{verb}" for verb in VERBS)])
def test_it_is_imported_where_there_is_no_pytorch(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported")


def test_a_verb_that_needs_pytorch_says_how_to_get_it() -> None:
    program = (
        PROGRAM.partition("room = ")[0]
        + "from slimpose.cli.main import main; main(['train', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        "slimpose train needs torch, which is not installed: pip install 'slimpose[train]'"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
