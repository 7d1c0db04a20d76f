"""Folders of files on a disk or in an object store (``s3://`` and others, by fsspec)."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from slimpose.media.addresses import plain_reason, redacted

_TEMPORARY = "_tmp"


class OutputError(RuntimeError):
    """The output folder cannot be written to; no input is the cause."""


class Storage:
    """A folder of output files, each of which appears whole or not at all.

    Args:
        address: A folder, or an address such as ``s3://bucket/folder`` that fsspec knows.

    Raises:
        ValueError: If fsspec does not know the address, or a package for it is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.fs, root = open_address(address)
        self.root = root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Return the file system's path of a file in the folder."""
        return f"{self.root}/{name}"

    def names(self, folder: str) -> list[str]:
        """Return the names of the files below a subfolder, sorted; none if there is no such."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.path(folder)):
            return []
        return sorted(path[len(self.root) + 1 :] for path in self.fs.find(self.path(folder)))

    def read(self, name: str) -> bytes | None:
        """Return a file's contents; None if there is no such file."""
        try:
            with self.fs.open(self.path(name), "rb") as file:
                return cast("bytes", file.read())
        except FileNotFoundError:
            return None

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield the path of a temporary local file that becomes the named file at the end.

        On a disk it is renamed; in an object store it is uploaded, where it appears when all of it
        is there.

        Raises:
            OutputError: If it cannot be written, a full disk for example.
        """
        try:
            if not self.is_local:
                with tempfile.TemporaryDirectory(prefix="slimpose-") as folder:
                    local = Path(folder) / "file"
                    yield local
                    self.fs.put_file(str(local), self.path(name))
                return
            target = Path(self.path(name))
            partial = Path(self.path(_TEMPORARY)) / uuid.uuid4().hex
            for folder in (partial.parent, target.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                yield partial
                os.replace(partial, target)  # noqa: PTH105 (Path.replace is the same)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {name} to {redacted(self.address)}: {plain_reason(error)}"
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file; errors as in ``writing``."""
        with self.writing(name) as partial:
            partial.write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove a file, if there is such a file, and the folder that it leaves empty."""
        if not self.fs.exists(self.path(name)):
            return
        self.fs.rm_file(self.path(name))
        folder = Path(self.path(name)).parent
        if self.is_local and not any(folder.iterdir()):
            folder.rmdir()

    def remove_temporary(self) -> None:
        """Remove what killed runs have left; no other run may be writing."""
        for name in self.names(_TEMPORARY):
            self.remove(name)


def open_address(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of an address and the path in it.

    Raises:
        ValueError: If fsspec does not know it, or a package for it is missing.
    """
    try:
        return fsspec.url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise ValueError(f"{redacted(address)}: {error}") from error
