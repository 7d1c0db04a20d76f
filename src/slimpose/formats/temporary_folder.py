"""Temporary folders next to outputs; those of killed runs are removed by the next run there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = ".slimpose-"
_ABANDONED_S = 24 * 3600.0
"""Age of a folder that no process uses any more, where there are no locks."""
_swept: set[Path] = set()


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in the parent folder, which may not exist yet, and remove it at the end.

    It is locked as long as the process lives: that distinguishes what a killed process left from
    what another one is using.

    Raises:
        OSError: If it cannot be created.
    """
    parent.mkdir(parents=True, exist_ok=True)
    if parent not in _swept:
        _swept.add(parent)
        for folder in parent.glob(f"{PREFIX}*"):
            _remove_if_abandoned(folder)
    folder, lock = _create_locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _create_locked(parent: Path) -> tuple[Path, int | None]:
    """Return a new folder and the descriptor that holds its lock; None without locks."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        if fcntl is None:
            return folder, None
        lock = None
        with suppress(OSError):  # no locks in this file system, or taken for abandoned just now
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.is_dir():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder unless the process that made it lives, or may live."""
    with suppress(OSError):  # removed meanwhile, locked, or not ours to open
        if fcntl is None:
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder)
            return
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
