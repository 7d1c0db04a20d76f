"""Files that grow while a run goes on: under a name of their own until it ends, and sound whenever it is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from slimpose.formats.files import resolve_output


def partial_names(target: Path) -> Iterator[Path]:
    """The names a file may have while it is written: ``poses.partial.json``, ``poses.partial-2.json``, ..."""
    for number in count(1):
        yield target.with_name(
            f"{target.stem}.partial{f'-{number}' if number > 1 else ''}{target.suffix}"
        )


def open_partial(target: Path) -> tuple[int, Path]:
    """Make the first such file that is not there yet (what a killed run left is kept); return its descriptor and path.

    Raises:
        RuntimeError: If the folder cannot be made or written to.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in partial_names(target):
            try:
                return os.open(
                    path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644
                ), path
            except FileExistsError:
                continue
    except OSError as error:
        raise RuntimeError(f"cannot write to {target.parent}: {error.strerror or error}") from error
    raise AssertionError("count ended")


class PartialFile:
    """A file of records, whole after every ``append``: killed at any time, it holds all but the last record.

    It is ``head``, the records with ``between`` between them, ``tail``; the tail is written again
    behind each record. Until ``finish`` it is called ``NAME.partial.SUFFIX``.

    Raises:
        RuntimeError: If it cannot be made or written to (a full disk); what was whole before stays.
        ValueError: If it is a device.
    """

    def __init__(
        self, target: Path, *, head: bytes = b"", between: bytes = b"", tail: bytes = b""
    ) -> None:
        self.target = target = resolve_output(target)
        self._between, self._tail = between, tail
        self._handle, self.partial = open_partial(target)
        self._closed = self._named = False
        self._start = self._end = 0
        self._put(head)
        self._start = self._end

    def append(self, record: bytes) -> None:
        """Write one record."""
        self._put(record if self._end == self._start else self._between + record)

    def patch(self, place: int, data: bytes) -> None:
        """Write over bytes that are there already."""
        try:
            os.lseek(self._handle, place, os.SEEK_SET)
            os.write(self._handle, data)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error

    def mark(self) -> int:
        """Return the place after the last record, for ``roll_back``."""
        return self._end

    def roll_back(self, mark: int) -> None:
        """Take back every record after the mark."""
        try:
            os.ftruncate(self._handle, mark)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error
        self._end = mark
        self._put(b"")

    def finish(self) -> None:
        """Give the file its name."""
        self.close()
        try:
            self.partial.replace(self.target)
        except OSError as error:
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error

        self._named = True

    def discard(self) -> None:
        """Remove the file, unless it is finished."""
        self.close()
        if not self._named:
            self.partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the file under its partial name."""
        if not self._closed:
            self._closed = True
            os.close(self._handle)

    def _put(self, data: bytes) -> None:
        """Write over the tail: the data and a new tail, in one call of the system wherever it takes them at once."""
        try:
            os.lseek(self._handle, self._end, os.SEEK_SET)
            rest = memoryview(data + self._tail)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            os.ftruncate(self._handle, self._end)
            os.lseek(self._handle, self._end, os.SEEK_SET)
            os.write(self._handle, self._tail)  # the bytes that were there before
            raise RuntimeError(f"cannot write {self.target}: {error.strerror or error}") from error
        self._end += len(data)
