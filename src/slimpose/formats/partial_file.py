"""Output files that grow during a run: valid whenever it is killed, renamed when it ends."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from slimpose.formats.files import fitting_name, resolve_output


def open_partial(target: Path) -> tuple[int, Path]:
    """Create a partial file for the target; return its descriptor and path.

    The first free name of poses.partial.json, poses.partial-2.json, ... is used, so that files of
    killed runs are kept.

    Raises:
        RuntimeError: If the folder cannot be created or written to.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for number in count(1):
            partial = f".partial-{number}" if number > 1 else ".partial"
            path = target.with_name(fitting_name(target.stem, f"{partial}{target.suffix}"))
            try:
                return os.open(path, flags, 0o644), path
            except FileExistsError:
                continue
    except OSError as error:
        raise RuntimeError(f"cannot write to {target.parent}: {error.strerror or error}") from error
    raise AssertionError("count ended")


class PartialFile:
    """A file of records that is valid after every ``append``.

    If the process is killed, at most the last record is lost. The file consists of ``head``, the
    records separated by ``between``, and ``tail``, which is written again after each record. Until
    ``finish`` it is called ``NAME.partial.SUFFIX``.

    Raises:
        RuntimeError: If it cannot be created or written to (a full disk); earlier records stay.
        ValueError: If it is a device.
    """

    def __init__(
        self, target: Path, *, head: bytes = b"", between: bytes = b"", tail: bytes = b""
    ) -> None:
        self.target = target = resolve_output(target)
        self._between, self._tail = between, tail
        self._handle, self.partial = open_partial(target)
        self._closed = self._finished = False
        self._start = self._end = 0
        self._write(head)
        self._start = self._end

    def append(self, record: bytes) -> None:
        """Append one record."""
        self._write(record if self._end == self._start else self._between + record)

    def overwrite(self, position: int, data: bytes) -> None:
        """Overwrite existing bytes."""
        try:
            os.lseek(self._handle, position, os.SEEK_SET)
            os.write(self._handle, data)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error

    def position(self) -> int:
        """Return the position after the last record, for ``truncate``."""
        return self._end

    def truncate(self, position: int) -> None:
        """Remove every record after the position."""
        try:
            os.ftruncate(self._handle, position)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error
        self._end = position
        self._write(b"")

    def finish(self) -> None:
        """Close the file and rename it to its final name."""
        self.close()
        try:
            self.partial.replace(self.target)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error
        self._finished = True

    def discard(self) -> None:
        """Close and remove the file, unless it is finished."""
        self.close()
        if not self._finished:
            self.partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and keep its partial name."""
        if not self._closed:
            self._closed = True
            os.close(self._handle)

    def _write(self, data: bytes) -> None:
        """Replace the tail by the data and a new tail, in one system call where possible."""
        try:
            os.lseek(self._handle, self._end, os.SEEK_SET)
            remaining = memoryview(data + self._tail)
            while remaining:
                remaining = remaining[os.write(self._handle, remaining) :]
        except OSError as error:
            os.ftruncate(self._handle, self._end)
            os.lseek(self._handle, self._end, os.SEEK_SET)
            os.write(self._handle, self._tail)  # restores the file as it was before
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error
        self._end += len(data)
