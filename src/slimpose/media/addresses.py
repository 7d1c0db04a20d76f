"""What names a source on the command line, and how it may be shown: never with a password or a token in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SCHEMES = ("rtsp", "rtsps", "http", "https")
HIDDEN = "***"

_SECRET_PARAMETER = re.compile(
    r"""((?:pass|pas|pwd|psw|user|usr|login|token|key|secret|auth|sig|cred|session|\bsid|jwt|code|hash)[\w.%-]*\s*=)
        [^&;\s'"?\#/]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""In the path too: some recorders want rtsp://host/user=admin_password=secret_channel=1."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s'\"<>]*)", re.IGNORECASE)


class SourceError(ValueError):
    """An input that cannot be read; the message names it and says why, and holds no password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A source that was named.

    Attributes:
        kind: A camera at this machine, a stream from the network, or a video file.
        name: How it is shown and written: redacted.
        target: What opens it, secrets included: never to be shown.
    """

    kind: Literal["camera", "network", "file"]
    name: str
    target: str = field(repr=False)

    def redact(self, text: str) -> str:
        """Return the text without this address's secrets, nor those of any other in it."""
        return redacted(text.replace(self.target, self.name) if self.kind == "network" else text)


def is_url(text: str) -> bool:
    """Whether a word is an address with a scheme rather than a file."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text.strip(), re.IGNORECASE) is not None


def parse(source: str) -> Address:
    """Return the address that a word on the command line names.

    A number is a camera, as is a device's path; ``rtsp://``, ``http://`` and the like are network
    streams; the rest are video files.

    Raises:
        SourceError: If it is none of them.
    """
    source = source.strip()
    if source.isascii() and source.isdecimal():
        return Address(kind="camera", name=f"camera {int(source)}", target=str(int(source)))
    if is_url(source):
        scheme = source.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise SourceError(
                f"{redacted(source)}: cannot open {scheme}://; expected {', '.join(SCHEMES)}, or a file"
            )
        if not re.match(r"[^/?#]", source.partition("://")[2]):
            raise SourceError(
                f"{redacted(source)}: this address has no host; expected {scheme}://host/path"
            )
        return Address(kind="network", name=redacted(source), target=source)
    path = Path(source)
    if path.is_char_device():
        return Address(kind="camera", name=source, target=source)
    if path.is_dir():
        raise SourceError(
            f"{source}: a folder; expected a camera's number, an address or a video file"
        )
    if not path.is_file():
        raise SourceError(
            f"{source}: no such file (a camera's number, rtsp://... or http://... would do too)"
        )
    return Address(kind="file", name=source, target=source)


def redacted(text: str) -> str:
    """Return the text with ``user:password@`` and the values of secret-looking parameters hidden in every address.

    Where it is not clear what belongs to the password, more is hidden rather than less.
    """
    return _URL.sub(lambda match: match[1] + _without_secrets(match[2]), text)


def _without_secrets(rest: str) -> str:
    """The part of an address behind ``://``; a login may go on to the last @, since passwords have / ? # @ in them."""
    login, at, place = rest.rpartition("@")
    return (f"{HIDDEN}@" if login or at else "") + _SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", place)
