"""Which packages a statement imports, in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def imported_by(statement: str, *packages: str) -> set[str]:
    """Return those of the packages that Python has imported after the statement."""
    program = f"import sys\n{statement}\nprint(*(set({packages!r}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
