"""Reading JSON and TOML, and atomic writing: to a temporary file nearby, which is then renamed."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from slimpose.formats.temporary_folder import temporary_folder

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of writing only, whose text names no file."""
_MAX_NAME_BYTES = 255
_Value = TypeVar("_Value")


def resolve_output(path: Path) -> Path:
    """Return the path that writing to ``path`` creates or replaces: a link is followed.

    Raises:
        ValueError: If it is a device or a pipe, which a rename would replace with a file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"{path} is a device or a pipe; expected a file to write (--jsonl - is standard output)"
        )
    return path.resolve() if path.is_symlink() else path


@contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path, rename it to ``path`` at the end.

    The temporary file has the same name, in a temporary folder next to ``path``. On an error it is
    removed and ``path`` stays as it was.

    Raises:
        ValueError: If the folder cannot be created or written to, the disk is full, or the path is
            a device.
    """
    path = resolve_output(path)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(path.parent))
        except OSError as error:
            raise ValueError(f"cannot write to {path.parent}: {error.strerror or error}") from error
        partial = folder / path.name
        try:
            yield partial
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise ValueError(f"cannot write {path}: {error.strerror}") from error
        try:
            partial.replace(path)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


def fitting_name(stem: str, ending: str) -> str:
    """Return ``stem + ending`` as a file name that file systems take: at most 255 bytes.

    A stem that is too long is cut; a hash of it keeps different ones apart.

    >>> fitting_name("clip", ".partial.mp4")
    'clip.partial.mp4'
    """
    room = _MAX_NAME_BYTES - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    if room < _MAX_NAME_BYTES // 2:  # an "ending" of that length is no suffix
        stem, ending, room = stem + ending, "", _MAX_NAME_BYTES
    digest = f"~{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}"
    return os.fsencode(stem)[: room - len(digest)].decode("utf-8", "ignore") + digest + ending


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with replace_when_done(path) as partial:
        partial.write_bytes(data)


def as_utf8(text: str) -> bytes:
    r"""Return text as UTF-8; bytes of file names that are not UTF-8 are escaped with backslashes.

    Python reads such bytes as surrogates, which UTF-8 cannot hold.

    >>> as_utf8("caf\udce9.jpg")
    b'caf\\udce9.jpg'
    """
    return text.encode(errors="backslashreplace")


def check_utf8(path: Path) -> None:
    """Reject a path that libraries in C++ cannot open, as it is not UTF-8.

    Raises:
        ValueError: If it is not.
    """
    if as_utf8(str(path)) != os.fsencode(path):
        raise ValueError(f"{path} has a name that is not UTF-8; expected one that is (rename it)")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as ``as_utf8``."""
    write_bytes(path, as_utf8(text))


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(path, json.dumps(document).encode())


def read_json(path: Path, *, kind: str) -> Any:
    """Read a JSON file; ``kind`` is what it is expected to be, for the error messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON.
    """
    return parse_file(path, json.loads, language="JSON", kind=kind)


def read_toml(path: Path, *, kind: str) -> dict[str, Any]:
    """Read a TOML file; arguments and errors as in ``read_json``."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return parse_file(path, toml.loads, language="TOML", kind=kind)


def parse_file(path: Path, parse: Callable[[str], _Value], *, language: str, kind: str) -> _Value:
    """Read a text file of any language with a function that raises ValueError.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8, or the function raises it; the message names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {kind} {path}")
    try:
        return parse(path.read_bytes().decode("utf-8-sig"))  # some editors write a mark in front
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not {language}: byte {error.start} is {error.object[error.start]:#04x}; "
            f"expected UTF-8 text ({kind} expected)"
        ) from error
    except RecursionError as error:
        raise ValueError(
            f"{path} is not {language}: it is nested too deeply ({kind} expected)"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not {language}: {error} ({kind} expected)") from error
