"""Lines on the terminal that hold names of files and cameras."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def plain_console(*, stderr: bool) -> Console:
    """Return a console that prints lines as they are, but for control characters."""
    return _PlainConsole(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


class _PlainConsole(Console):
    """Escapes the control characters of names, which could change the terminal's state."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(it) if isinstance(it, str) else it for it in objects), **options)


def printable(text: str) -> str:
    r"""Return a line without control characters, which are escaped instead.

    >>> printable("a\x1b[31m.jpg")
    'a\\x1b[31m.jpg'
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)
