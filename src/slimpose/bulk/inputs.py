"""The inputs of ``slimpose bulk``: a folder, a list of files, or a folder in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit

from slimpose.bulk.storage import open_address
from slimpose.formats.files import as_utf8
from slimpose.media.addresses import SourceError, is_url, plain_reason, redacted
from slimpose.media.images import IMAGE_SUFFIXES
from slimpose.media.sources import VIDEO_SUFFIXES, expand

_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "ETag", "etag", "created")
"""Where file systems of fsspec say when a file changed; the first one that is there counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkInput:
    """An input file.

    Attributes:
        source: Its name in the results: relative to the folder, or as in the list.
        address: Its path or address.
        identity: Its size and time of change; another one means that the file has changed.
        error: Why there is no such file; empty if there is.
    """

    source: str
    address: str
    identity: str = ""
    error: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is an image by its suffix: images are processed in groups."""
        return PurePosixPath(self._file_name).suffix.lower() in IMAGE_SUFFIXES

    @property
    def _file_name(self) -> str:
        """The name of the file; of web addresses without the query (?token=...) behind it."""
        is_web = self.address.lower().startswith(("http://", "https://"))
        return PurePosixPath(urlsplit(self.address).path if is_web else self.source).name

    @contextmanager
    def local_file(self) -> Iterator[Path]:
        """Yield the path of the file; one in an object store is fetched and removed again.

        Raises:
            SourceError: If it cannot be fetched.
        """
        if not is_url(self.address):
            yield Path(self.address)
            return
        with TemporaryDirectory(prefix="slimpose-") as folder:
            local = Path(folder) / (self._file_name or "file")
            try:
                fs, path = open_address(self.address)
                fs.get_file(path, str(local))
            except (OSError, ValueError) as error:
                raise SourceError(
                    f"{redacted(self.address)}: cannot be fetched: {plain_reason(error)}"
                ) from error
            yield local


def find_inputs(source: str) -> list[BulkInput]:
    """Return the inputs that a folder, a list of files or an address names, sorted by name.

    Folders are searched with their subfolders. A list is a text file with a path or an address per
    line, relative to the list's folder; empty lines and lines that start with # do not count. Files
    of a list that do not exist are returned with an ``error``.

    Raises:
        SourceError: If there is no such folder or list, or there is nothing in it.
    """
    if is_url(source):
        inputs = _remote_inputs(source)
    elif Path(source).is_file():
        inputs = _listed_inputs(Path(source))
    else:
        root = Path(source)
        files = expand(source, recursive=True)
        inputs = [
            _local_input(file.relative_to(root).as_posix() if root.is_dir() else file.name, file)
            for file in files
        ]
    unique = {one.source: one for one in inputs}
    return [unique[name] for name in sorted(unique)]


def _local_input(source: str, file: Path) -> BulkInput:
    try:
        status = file.stat()
    except OSError as error:
        return BulkInput(source=source, address=str(file), error=plain_reason(error))
    return BulkInput(
        source=as_utf8(source).decode(),
        address=str(file.absolute()),
        identity=f"{status.st_size}-{status.st_mtime_ns}",
    )


def _listed_inputs(manifest: Path) -> list[BulkInput]:
    try:
        lines = [line.strip() for line in manifest.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{manifest}: not a list of files; expected a text file with a path per line, or a "
            "folder (slimpose predict takes single images and videos)"
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise SourceError(f"{manifest}: no file is listed; expected a path per line")
    return [
        _remote_input(name) if is_url(name) else _local_input(name, manifest.parent / name)
        for name in names
    ]


def _remote_input(address: str) -> BulkInput:
    try:
        fs, path = open_address(address)
        details = fs.info(path)
    except (OSError, ValueError) as error:
        return BulkInput(
            source=redacted(address), address=address, error=f"cannot be read: {error}"
        )
    return BulkInput(source=redacted(address), address=address, identity=_identity(details))


def _remote_inputs(address: str) -> list[BulkInput]:
    fs, root = open_address(address)
    try:
        found = cast("dict[str, dict[str, Any]]", fs.find(root, detail=True))
    except OSError as error:
        raise SourceError(
            f"{redacted(address)}: cannot be listed: {plain_reason(error)}"
        ) from error
    suffixes = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    inputs = [
        BulkInput(
            source=path[len(root.rstrip("/")) + 1 :] or PurePosixPath(path).name,
            address=fs.unstrip_protocol(path),
            identity=_identity(details),
        )
        for path, details in found.items()
        if PurePosixPath(path).suffix.lower() in suffixes
    ]
    if not inputs:
        raise SourceError(
            f"{redacted(address)}: no image or video among {len(found)} files (by their suffixes)"
        )
    return inputs


def _identity(details: dict[str, Any]) -> str:
    changed = next((str(details[key]) for key in _MODIFIED if details.get(key)), "")
    return f"{details.get('size')}-{changed}"
