"""Parsing of sources (camera numbers, stream URLs, files) and redaction of their passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimpose.messages import HIDDEN, redacted, short_name

SCHEMES = ("rtsp", "rtsps", "http", "https")


class SourceError(ValueError):
    """A source cannot be read; the message names it and the reason, without its passwords."""


def plain_reason(error: Exception) -> str:
    """Return what an error says, without Python's number of a system error or OpenCV's place."""
    text = getattr(error, "strerror", None) or getattr(error, "err", None) or str(error)
    if not text and isinstance(error, MemoryError):
        text = "it does not fit into memory"
    return str(text) or type(error).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a source.

    Attributes:
        kind: A local camera, a network stream, or a video file.
        name: The redacted address, or a name, for messages and output files.
        stem: Start of the names of its files; empty where it has no name of its own.
        target: Number, URL or path to open, with secrets: never print it.
    """

    kind: Literal["camera", "network", "file"]
    name: str
    target: str = field(repr=False)
    stem: str = ""

    @property
    def is_hls(self) -> bool:
        """Whether it is the playlist of an HLS stream, whose segments arrive seconds at once."""
        path = re.split(r"[?#]", self.target, maxsplit=1)[0]
        return self.kind == "network" and path.lower().endswith(".m3u8")

    def redact(self, text: str) -> str:
        """Return the text without the secrets of this or any other address."""
        return redacted(text.replace(self.target, self.name) if self.kind == "network" else text)


def is_url(text: str) -> bool:
    """Return whether the text is an address with a scheme rather than a path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text.strip(), re.IGNORECASE) is not None


def is_stream(source: str) -> bool:
    """Return whether a source on the command line is a camera or stream, or names some.

    Such as 0, rtsp://..., /dev/video0, env:NAME, @FILE. What exists as a file is none.
    """
    path = Path(source)
    if path.exists():
        return path.is_char_device()
    source = source.strip()
    return (
        (source.isascii() and source.isdecimal())
        or is_url(source)
        or source[:1] == "@"
        or (source.startswith("env:"))
    )


def parse(source: str) -> Address:
    """Return the address of a source on the command line.

    A number or the path of a device is a camera; ``rtsp://``, ``http://`` and the like are network
    streams; anything else is a video file.

    Raises:
        SourceError: If it is not one of these.

    >>> parse("rtsp://admin:secret@10.0.0.5/stream1").name
    'rtsp://***@10.0.0.5/stream1'
    """
    source = source.strip()
    if source.isascii() and source.isdecimal():
        return Address(kind="camera", name=f"camera {int(source)}", target=str(int(source)))
    if is_url(source):
        scheme, _, rest = source.partition("://")
        scheme = scheme.lower()
        if scheme not in SCHEMES:
            raise SourceError(
                f"{redacted(source)}: cannot open {scheme}://; "
                f"expected {', '.join(SCHEMES)}, or a file"
            )
        if not re.match(r"[^/?#]", rest):
            raise SourceError(
                f"{redacted(source)}: this address has no host; expected {scheme}://host/path"
            )
        return Address(kind="network", name=redacted(source), target=source)
    return _parse_path(source)


def _parse_path(source: str) -> Address:
    path = Path(source)
    shown = re.sub(r"^[^/\s]+:[^/\s]*@", f"{HIDDEN}@", source)  # rtsp:// forgotten
    try:
        if path.is_char_device():
            return Address(kind="camera", name=source, target=source)
        if path.is_dir():
            raise SourceError(
                f"{shown}: a folder; expected a camera number, an address or a video file"
            )
        is_file, reason = path.is_file(), "no such file"
    except OSError as error:  # a name that is too long, a folder that cannot be searched
        is_file, reason, shown = False, plain_reason(error), short_name(shown)
    if not is_file:
        raise SourceError(
            f"{shown}: {reason}; expected a camera number, rtsp://..., http://... or a video file"
        )
    return Address(kind="file", name=source, target=source)


def parse_all(sources: Iterable[str]) -> list[Address]:
    """Return the addresses of sources on the command line, which other users can read there.

    ``@FILE`` stands for the addresses in a text file, one a line (# starts a comment), and
    ``env:NAME`` for the one in an environment variable, also in such a file. A file whose own name
    begins like this is a video.

    Raises:
        SourceError: If one is none; values from files and variables are not shown then.
    """
    addresses: list[Address] = []
    for source in sources:
        if source.startswith("@") and not _exists(source):
            for number, line in enumerate(_lines(Path(source[1:])), start=1):
                if line and not line.startswith("#"):
                    addresses.append(parse_value(line, f"{source[1:]}, line {number}"))
        else:
            addresses.append(_parse_variable(source) or parse(source))
    return addresses


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long
        return False


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise SourceError(
            f"{short_name(f'@{file}')}: cannot be read: {plain_reason(error)}; expected a file of "
            "addresses"
        ) from error
    except UnicodeDecodeError:
        raise SourceError(f"@{file}: not UTF-8 text; expected one address a line") from None
    if all(not line or line.startswith("#") for line in lines):
        raise SourceError(f"@{file}: holds no address; expected one a line")
    return lines


def _parse_variable(source: str) -> Address | None:
    """The address in the environment variable that ``env:NAME`` names; None for other sources."""
    kind, _, name = source.partition(":")
    if kind != "env" or not name or name.startswith("//") or _exists(source):
        return None
    value = os.environ.get(name, "").strip()
    if not value:
        raise SourceError(
            f"{short_name(source)}: no environment variable of this name, or it is empty"
        )
    return parse_value(value, source)


def parse_value(value: str, place: str) -> Address:
    """Return the address that was found at a place, such as a file, which is named in errors.

    It may hold a password, so it is never shown as it is.

    Raises:
        SourceError: If it is none.
    """
    if (address := _parse_variable(value)) is not None:
        return address
    try:
        return parse(value)
    except SourceError as error:
        reason = str(error) if is_url(value) else "not a camera number, an address or a video file"
        raise SourceError(f"{place}: {reason}") from None
