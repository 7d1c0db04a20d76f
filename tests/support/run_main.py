"""Run ``slimpose`` in the process of the tests."""

from __future__ import annotations

import pytest

from slimpose.cli.main import main


def run_main(*arguments: object) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)
