"""Daemon threads inside C++ libraries when the interpreter ends: it waits for their calls.

A thread that returns from C++ to an interpreter that has ended aborts the process (134).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

_LONGEST_WAIT_S = 10.0

Item = TypeVar("Item")


class _Calls(threading.local):
    """How many blocks of the current thread are around each other."""

    depth = 0


class _Gate:
    """The number of daemon threads that are in a block; closed at the interpreter's end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = 0
        self.is_closed = False

    def start_again(self) -> None:
        """In a forked process, which has one thread only."""
        self.__init__()


_calls, _gate = _Calls(), _Gate()


@contextmanager
def finished_at_exit() -> Iterator[None]:
    """Let the interpreter end only after the block; at its end, daemon threads enter none.

    Also a decorator. Other threads end before the interpreter does.
    """
    if _calls.depth or not threading.current_thread().daemon:
        yield
        return
    with _gate.changed:
        while _gate.is_closed:
            _gate.changed.wait()  # until the process ends
        _gate.inside += 1
    _calls.depth += 1
    try:
        yield
    finally:
        _calls.depth -= 1
        with _gate.changed:
            _gate.inside -= 1
            _gate.changed.notify_all()


def each_finished_at_exit(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items, each of which is computed in a block of ``finished_at_exit``."""
    while True:
        with finished_at_exit():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _wait() -> None:
    with _gate.changed:
        _gate.is_closed = True
        _gate.changed.wait_for(lambda: not _gate.inside, timeout=_LONGEST_WAIT_S)


atexit.register(_wait)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_gate.start_again)
