"""Text of other people in errors and warnings: shortened, and safe to print on a terminal."""

from __future__ import annotations

_SHORT = 80
_LONGEST_NAME = 255
_LONGEST_MESSAGE = 2000


class DataWarning(UserWarning):
    """Something in the user's data is unusual, and what was done about it."""


def quoted(value: object) -> str:
    """Return a value's ``repr``, shortened, for a message about it.

    >>> quoted("a" * 200_000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... (200000 characters)"
    """
    size = f"{len(value)} characters" if isinstance(value, str) else ""
    if isinstance(value, list | tuple):
        size, value = f"{len(value)} items", value[:_SHORT]
    elif isinstance(value, dict):
        size, value = f"{len(value)} fields", dict(list(value.items())[:_SHORT])
    text = printable(repr(value[:_SHORT] if isinstance(value, str) else value))
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
