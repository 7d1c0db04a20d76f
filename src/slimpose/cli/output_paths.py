"""Where verbs may write: what could never be written, or would overwrite what is read, is refused before the work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from slimpose.formats.files import resolve_output


def file_identities(files: Iterable[Path]) -> set[tuple[int, int]]:
    """What tells files apart, whatever links and spellings lead to them."""
    return {
        (status.st_dev, status.st_ino)
        for file in files
        if file.exists()
        for status in [file.stat()]
    }


def check_output_paths(
    files: Mapping[str, Path | None],
    folders: Mapping[str, Path | None],
    inputs: Iterable[Path | None],
) -> None:
    """Refuse what could never be written, before hours of work; make the folders.

    Args:
        files: Files to be written, by the option that names them; None is not asked for, here and
            below.
        folders: Folders to write into, by the option that names them.
        inputs: What must not be overwritten.

    Raises:
        ValueError: If a file is an input, a device, or named twice.
        NotADirectoryError: If a folder is a file.
        IsADirectoryError: If a file is a folder.
        RuntimeError: If a folder cannot be made or written to.
    """
    files = {option: file for option, file in files.items() if file is not None}
    folders = {option: folder for option, folder in folders.items() if folder is not None}
    read = file_identities(path for path in inputs if path is not None)
    for option, folder in folders.items():
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{option} {folder} is a file; expected a folder")
    for option, file in files.items():
        if file.is_dir():
            raise IsADirectoryError(f"{option} {file} is a folder; expected a file to write")
        resolve_output(file)
        if file_identities([file]) & read:
            raise ValueError(f"{option} {file} is an input of this call; it would be overwritten")
    if len({file.absolute() for file in files.values()}) < len(files):
        raise ValueError(
            f"{' and '.join(files)}: two of them are one file; it would be overwritten"
        )
    for folder in [*folders.values(), *(file.parent for file in files.values())]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RuntimeError(f"cannot write to {folder}: {error.strerror or error}") from error


def redirect_closed_stdout() -> None:
    """Let what Python still holds for standard output go nowhere, once its reader is gone: it would fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
