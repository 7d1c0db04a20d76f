"""The command itself: help, version, wrong verbs, and an output that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import slimpose
from slimpose.cli.main import COMMANDS, main


def _left(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    said = capsys.readouterr()
    return leaving.value.code, said.out, said.err


def test_help_names_every_verb_and_succeeds_only_if_it_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = _left(["--help"], capsys)
    assert code == 0
    assert all(f"  {verb} " in out for verb in COMMANDS)
    assert _left([], capsys) == (2, out, "")
    assert _left(["--version"], capsys) == (0, f"slimpose {slimpose.__version__}\n", "")


def test_wrong_verbs_and_options_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _left(["predcit"], capsys)
    assert (code, out) == (2, "")
    assert "no verb is named 'predcit'; expected one of predict," in err
    assert _left(["models", "--nope"], capsys)[0] == 2
    assert _left(["models", "--help"], capsys)[0] == 0


@pytest.mark.parametrize("arguments", [["--help"], ["models", "--help"]])
def test_an_output_that_nobody_reads_ends_without_a_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from slimpose.cli.main import main; main()", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
