"""Text of other people in errors and warnings: shortened, and safe to print on a terminal."""

from __future__ import annotations

import re

HIDDEN = "***"

_SHORT = 80
_LONGEST_NAME = 255
_LONGEST_MESSAGE = 2000
_SECRET_PARAMETER = re.compile(
    r"""((?:pass|pas|pwd|psw|user|usr|login|token|key|secret|auth
            |sig|cred|session|\bsid|jwt|code|hash)[\w.%-]*\s*=)
        [^&;\s'"?\#/]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""In the path too: some recorders use rtsp://host/user=admin_password=secret_channel=1."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s'\"<>]*)", re.IGNORECASE)


class DataWarning(UserWarning):
    """Something in the user's data is unusual, and what was done about it."""


def quoted(value: object) -> str:
    """Return a value's ``repr``, shortened and without passwords of addresses, for a message.

    >>> quoted("a" * 200_000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... (200000 characters)"
    """
    size = f"{len(value)} characters" if isinstance(value, str) else ""
    if isinstance(value, list | tuple):
        size, value = f"{len(value)} items", value[:_SHORT]
    elif isinstance(value, dict):
        size, value = f"{len(value)} fields", dict(list(value.items())[:_SHORT])
    text = printable(
        repr(redacted(value)[:_SHORT]) if isinstance(value, str) else redacted(repr(value))
    )
    if len(text) <= _SHORT and not (isinstance(value, str) and len(value) > _SHORT):
        return text
    return f"{text[: _SHORT - 24]}...{f' ({size})' if size else ''}"


def short_name(name: str) -> str:
    """Return the name of a file or the like, shortened if no file could have it.

    >>> short_name("street.jpg")
    'street.jpg'
    """
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _SHORT - 24]}... ({len(name)} characters)"


def printable(text: str) -> str:
    r"""Return a message as one line without control characters; a very long one loses its middle.

    Names may contain line breaks and a terminal's escape codes; they are shown as Python writes
    them.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if not text.isprintable():
        text = "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in text
        )
    if len(text) <= _LONGEST_MESSAGE:
        return text
    half = _LONGEST_MESSAGE // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters) ... {text[-half:]}"


def redacted(text: str) -> str:
    """Return the text with the passwords in all addresses replaced by ``***``.

    Hides ``user:password@`` and the values of parameters that may be secret. If the extent of a
    password is unclear, more is hidden rather than less.

    >>> redacted("cannot open http://host/video?token=abc&width=640")
    'cannot open http://host/video?token=***&width=640'
    """
    return _URL.sub(lambda match: match[1] + _redacted_part(match[2]), text)


def _redacted_part(rest: str) -> str:
    """Redact the part of an address after ``://``.

    The login may extend to the last @, since passwords may contain / ? # @.
    """
    login, at, place = rest.rpartition("@")
    return (f"{HIDDEN}@" if login or at else "") + _SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", place)
