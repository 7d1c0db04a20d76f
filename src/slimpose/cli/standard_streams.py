"""Standard output and error that never end the work: what they cannot take is noted or escaped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast


class ForgivingStream:
    """A text stream that goes on where its target fails, and escapes letters the target lacks.

    Figures and files must not depend on a console: a full disk, a reader that has gone and a
    console of 256 letters all lose words only. Everything else is the target's.

    Attributes:
        error: The first failure of the target; None without one.
    """

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write as much as the target takes."""
        encoding = self._target.encoding or "utf-8"
        self._attempt(
            lambda: self._target.write(text.encode(encoding, "backslashreplace").decode(encoding))
        )
        return len(text)

    def flush(self) -> None:
        """Flush the target."""
        self._attempt(self._target.flush)

    def release(self) -> None:
        """Redirect a failed target to the null device: Python flushes it once more at its exit."""
        if self.error is not None:
            with suppress(OSError, ValueError):  # it has no descriptor: nothing to redirect
                redirect_to_null(self._target.fileno())

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.error = self.error or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


@contextmanager
def forgiving_streams() -> Iterator[ForgivingStream]:
    """Replace standard output and error, which may be closed, in the block; yield the output."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as null:
        output, errors = (ForgivingStream(stream or null) for stream in before)
        sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", (output, errors))
        try:
            yield output
        finally:
            for stream in (output, errors):
                stream.flush()
                stream.release()
            sys.stdout, sys.stderr = before


def redirect_to_null(descriptor: int) -> None:
    """Redirect a descriptor, whose reader has closed it or whose disk is full, to the null device.

    Otherwise Python would fail at exit when it flushes its buffer.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _open_closed_descriptors() -> None:
    """Keep a file of ours from taking the number of a closed standard stream (cron, pythonw)."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
