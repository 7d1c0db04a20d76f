"""The command reference: ``slimpose VERB --help`` of every verb (called by mkdocs-gen-files).

Verbs that need PyTorch are imported for it, so it runs in the interpreter named by the variable
SLIMPOSE_PYTHON, by default that of ``make check``.
"""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("SLIMPOSE_PYTHON", str(ROOT / ".venv/bin/python"))
COLLECT = """
import contextlib, io, json
from slimpose.cli import main
helps = {}
for verb in main.COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main.main([verb, "--help"])
    helps[verb] = [main.COMMANDS[verb], text.getvalue()]
print(json.dumps(helps))
"""


def wrap(text: str, width: int = 96) -> str:
    """Wrap the long lines of the description; the option tables are narrower."""
    lines = [textwrap.wrap(line, width) or [""] for line in text.splitlines()]
    pairs = zip(text.splitlines(), lines, strict=True)
    return "\n".join(line if len(line) <= width else "\n".join(parts) for line, parts in pairs)


def collect_helps() -> dict[str, tuple[str, str]]:
    """Return every verb's one-line description and its help text."""
    environment = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [PYTHON, "-c", COLLECT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"cannot run {PYTHON} (make check creates it): {done.stderr}")
    return json.loads(done.stdout)


with mkdocs_gen_files.open("commands.md", "w") as file:
    file.write("# Commands\n\n`slimpose VERB [options]`\n")
    for verb, (summary, text) in collect_helps().items():
        file.write(
            f"\n## {verb}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{wrap(text)}\n```\n"
        )
