"""Node and the packages of ``web/``, for tests of the browser module and its page."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None or shutil.which("npm") is None, reason="needs Node and npm: apt install nodejs npm"
)


def node_modules() -> Path:
    """Return the folder of the packages in web/package-lock.json, installed where it is outdated.

    The packages have no install scripts that are needed, so none is run.
    """
    folder, lock = WEB / "node_modules", WEB / "package-lock.json"
    with (WEB / "package.json").open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # several test processes
        installed = folder / ".package-lock.json"
        if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            installed.touch()
    return folder


def run(*command: str, **environment: str) -> str:
    """Run a command in web/ and return its output; the test fails where it fails."""
    done = subprocess.run(
        command,
        cwd=WEB,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
