"""Lines on the terminal that hold names of files and cameras."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from slimpose.messages import printable


def plain_console(*, stderr: bool) -> Console:
    """Return a console that prints each text as one line, with control characters escaped."""
    return _PlainConsole(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


class _PlainConsole(Console):
    """Escapes the control characters of names, which could change the terminal's state."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects; see ``Console.print``."""
        super().print(
            *(printable(one) if isinstance(one, str) else one for one in objects), **options
        )
