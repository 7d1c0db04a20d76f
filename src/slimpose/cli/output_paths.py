"""Checks of output paths before the work starts: unwritable paths and overwritten inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path

from slimpose.formats.files import fitting_name, resolve_output


def file_identities(files: Iterable[Path]) -> set[tuple[int, int]]:
    """Return device and inode of each existing file: equal for all paths to a file."""
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
    *,
    overwrite: bool = True,
) -> None:
    """Reject output paths that cannot be written, before hours of work; create the folders.

    Args:
        files: Files to write, by the option that names them; None (here and below) is skipped.
        folders: Folders to write into, by the option that names them.
        inputs: Files that must not be overwritten.
        overwrite: Whether other files that exist may be replaced.

    Raises:
        ValueError: If a file is an input, a device, or named twice.
        FileExistsError: If a file exists and may not be replaced.
        NotADirectoryError: If a folder is a file.
        IsADirectoryError: If a file is a folder.
        RuntimeError: If a folder cannot be created or written to.
    """
    files = {option: file for option, file in files.items() if file is not None}
    folders = {option: folder for option, folder in folders.items() if folder is not None}
    input_identities = file_identities(path for path in inputs if path is not None)
    for option, folder in folders.items():
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{option} {folder} is a file; expected a folder")
    for option, file in files.items():
        if file.is_dir():
            raise IsADirectoryError(f"{option} {file} is a folder; expected a file to write")
        resolve_output(file)
        if file_identities([file]) & input_identities:
            raise ValueError(f"{option} {file} is an input of this call; it would be overwritten")
    check_not_replaced(files, overwrite=overwrite)
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


def check_not_replaced(paths: Mapping[str, Path], *, overwrite: bool) -> None:
    """Reject outputs that exist, by the option that names them, unless they may be replaced.

    Raises:
        FileExistsError: If one exists.
    """
    for option, path in paths.items():
        if path.exists() and not overwrite:
            raise FileExistsError(f"{option} {path} exists; --overwrite replaces it")


def unused_path(
    folder: Path, stem: str, suffix: str, *, used: set[str], replaceable: Callable[[Path], bool]
) -> Path:
    """Return the path of an output, with a number if its name is taken; add it to ``used``.

    Args:
        folder: Where it is written.
        stem: Start of its name.
        suffix: End of its name, from the dot on.
        used: Names of this run, in lower case.
        replaceable: Whether a file that exists may be replaced.
    """
    for number in count(1):
        ending = f"{f'-{number}' if number > 1 else ''}{suffix}"
        path = folder / fitting_name(stem, ending)
        if str(path).lower() not in used and (not os.path.lexists(path) or replaceable(path)):
            used.add(str(path).lower())
            return path
    raise AssertionError("count ended")


def check_suffix(option: str, file: Path | None, suffix: str) -> None:
    """Reject a file name with the suffix of another format than the one that is written.

    Raises:
        ValueError: If the name does not end in the suffix.
    """
    if file is not None and file.suffix.lower() != suffix:
        raise ValueError(f"{option} is {file}; expected a name that ends in {suffix}")
