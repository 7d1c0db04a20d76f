"""Opened objects of C++ in forked processes, where the threads that they use do not exist.

A model still computes there, on the calling thread. Only its destructor, as that of a video's
decoder or encoder, would wait forever for threads that the fork did not copy; so it is never
called there.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, TypeVar
from weakref import WeakSet

_opened: WeakSet[object] = WeakSet()

Opened = TypeVar("Opened", bound=object)


class InOneProcess:
    """Something opened that only this process may use and close, such as a decoder.

    Its owner keeps it as long as the opened objects.
    """

    def __init__(self, *opened: Any) -> None:
        self.opened, self._process = opened, os.getpid()
        _opened.add(self)

    @property
    def is_here(self) -> bool:
        """Whether it was opened in this process, not in one that this was forked from."""
        return self._process == os.getpid()


def never_closed_in_forks(opened: Opened) -> Opened:
    """Return an opened model; processes forked from this one will end without closing it."""
    _opened.add(opened)
    return opened


def _keep_all() -> None:
    for opened in _opened:
        for one in opened.opened if isinstance(opened, InOneProcess) else (opened,):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_all)
