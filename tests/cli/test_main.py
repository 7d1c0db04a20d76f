"""The command itself: help, version, unknown commands, and a closed output."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import slimpose
from run_cli import Capture
from run_main import run_main
from slimpose.cli.main import COMMANDS
from slimpose.cli.renamed_options import with_new_names


def _run(arguments: list[str], capsys: Capture) -> tuple[int, str, str]:
    code = run_main(*arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_help_lists_every_command_and_succeeds_only_on_request(capsys: Capture) -> None:
    code, out, _ = _run(["--help"], capsys)
    assert code == 0
    assert all(f"  {command} " in out for command in COMMANDS)
    assert _run([], capsys) == (2, out, "")
    assert _run(["--version"], capsys) == (0, f"slimpose {slimpose.__version__}\n", "")


def test_unknown_commands_and_options_are_bad_input(capsys: Capture) -> None:
    code, out, err = _run(["predcit"], capsys)
    assert (code, out) == (2, "")
    assert "unknown command 'predcit'; expected one of predict," in err
    assert _run(["models", "--nope"], capsys)[0] == 2
    assert _run(["models", "--help"], capsys)[0] == 0


@pytest.mark.parametrize("arguments", [["--help"], ["models", "--help"]])
def test_closed_output_ends_without_a_traceback(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-c", "from slimpose.cli.main import main; main()", *arguments]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "NAME"],
        ["predict", "photos/*.jpg", "--json", "NAME"],
        ["live", "NAME"],
        ["live", "@NAME"],
        ["evaluate", "mnv2", "--annotations", "NAME", "--images", "."],
        ["verify", "mnv2", "NAME"],
        ["lint", "NAME.onnx", "--target", "ncnn"],
        ["NAME"],
    ],
)
def test_name_that_is_too_long_is_reported_shortened(arguments: list[str], capsys: Capture) -> None:
    """No file system takes it: the system's error comes from wherever it is first looked up."""
    name = "x" * 3000
    assert run_main(*(argument.replace("NAME", name) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("slimpose: ")
    assert "Errno" not in error
    assert len(error) < 600


def test_renamed_options_still_work(capsys: pytest.CaptureFixture[str]) -> None:
    renamed = with_new_names("train", ["mnv2", "--alpha=0.3", "--cached-teacher"])
    assert renamed == ["mnv2", "--distillation-weight=0.3", "--cached-teacher"]
    assert capsys.readouterr().err == "slimpose: --alpha is now --distillation-weight\n"
    assert with_new_names("predict", ["--alpha"]) == ["--alpha"]


def test_renamed_public_names_still_work() -> None:
    with pytest.warns(DeprecationWarning, match=r"slimpose.CameraFrame is now slimpose.Frame"):
        assert slimpose.CameraFrame is slimpose.Frame
