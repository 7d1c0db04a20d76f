from __future__ import annotations

import subprocess
import sys

import pytest

from slimpose.cli.main import COMMANDS

PACKAGES = (
    "slimpose",
    "slimpose.arrays",
    "slimpose.tasks",
    "slimpose.skeleton",
    "slimpose.geometry",
    "slimpose.heatmap",
    "slimpose.oks",
    "slimpose.poses",
    "slimpose.draw",
    "slimpose.formats",
    "slimpose.media",
    "slimpose.runtime",
    "slimpose.adapters",
    "slimpose.measure",
    "slimpose.serve",
    "slimpose.events",
    "slimpose.motion",
    "slimpose.areas",
    "slimpose.data",
    "slimpose.evaluate",
    "slimpose.labels",
    "slimpose.compat",
    "slimpose.bulk",
    "slimpose.ray",
)
"""What runs on a user's machine, with all modules."""
MODULES = ["main", *(command.replace("-", "_") for command in COMMANDS)]

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
    raise SystemExit("torch is not blocked")

package = importlib.import_module(sys.argv[1])
names = [sys.argv[1]]
if hasattr(package, "__path__") and sys.argv[1] != "slimpose":
    names += [found.name for found in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")]
for name in names:
    importlib.import_module(name)
print("imported", len(names))
"""


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", [*PACKAGES, *(f"slimpose.cli.{name}" for name in MODULES)])
def test_module_is_imported_without_pytorch(module: str) -> None:
    done = run_program(PROGRAM, module)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported")


WITHOUT_PACKAGES = PROGRAM.partition("package = ")[0]


def test_help_of_every_command_and_list_of_targets_need_no_extra() -> None:
    done = run_program(
        WITHOUT_PACKAGES
        + """
from slimpose.cli.main import COMMANDS, main
for arguments in [*([command, "--help"] for command in COMMANDS), ["lint", "--list"]]:
    try:
        main(arguments)
    except SystemExit as ended:
        print("ended", *arguments, ended.code)
"""
    )
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stdout.splitlines() if line.startswith("ended ")]
    expected = [f"ended {command} --help 0" for command in COMMANDS]
    assert ends == [*expected, "ended lint --list 0"], done.stderr
    assert "dpu-b1024" in done.stdout


def test_command_that_needs_pytorch_reports_how_to_install_it() -> None:
    done = run_program(
        WITHOUT_PACKAGES
        + "from slimpose.cli.main import main; main(['train', 'mnv2', '--out', 'x'])"
    )
    assert done.returncode == 1
    assert "needs torch, which is not installed: pip install " in done.stderr
    assert "[train]'" in done.stderr
    assert "Traceback" not in done.stderr
