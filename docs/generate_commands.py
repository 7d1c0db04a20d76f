"""The command reference, ``slimpose COMMAND --help`` of all (called by mkdocs-gen-files)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).parents[1]
COLLECT = """
import contextlib, io, json
from slimpose.cli import main
helps = {}
for command in main.COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main.main([command, "--help"])
    helps[command] = [main.COMMANDS[command], text.getvalue()]
print(json.dumps(helps))
"""


def collect_helps() -> dict[str, tuple[str, str]]:
    """Return every command's one-line description and its help text."""
    environment = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", COLLECT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"cannot collect the help texts: {done.stderr}")
    return json.loads(done.stdout)


with mkdocs_gen_files.open("commands.md", "w") as file:
    file.write("# Commands\n\n`slimpose COMMAND [options]`\n")
    for name, (summary, text) in collect_helps().items():
        file.write(f"\n## {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{text}\n```\n")
