"""Opened models in forked processes, where the threads of their runtimes do not exist.

Such a model still computes, on the calling thread. Only its destructor would wait forever, for
threads that the fork did not copy; so it is never called there.
"""

from __future__ import annotations

import ctypes
import os
from typing import TypeVar
from weakref import WeakSet

_opened: WeakSet[object] = WeakSet()

Opened = TypeVar("Opened", bound=object)


def never_closed_in_forks(opened: Opened) -> Opened:
    """Return an opened model; processes forked from this one will end without closing it."""
    _opened.add(opened)
    return opened


def _keep_all() -> None:
    for opened in _opened:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(opened))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_all)
