"""Where the token of a server comes from, and whether it needs one."""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path

from slimpose.media.addresses import plain_reason

_SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Return whether a host is this computer only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(source: str | None, *, host: str) -> str | None:
    """Return the token that requests need; None where none is needed.

    Args:
        source: ``env:NAME`` or ``@FILE``, which hold it: other users see the command line. None for
            a random one where the host is not this computer only.
        host: The address that the server listens on.

    Raises:
        ValueError: If the source is something else, cannot be read, or holds a short token.
    """
    if source is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    if source.startswith("env:"):
        token = os.environ.get(source[4:], "")
    elif source.startswith("@"):
        try:
            token = Path(source[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--token {source}: cannot be read: {plain_reason(error)}") from error
    else:
        raise ValueError(
            "--token has another form; expected env:NAME or @FILE, which hold it "
            "(other users see the command line)"
        )
    token = token.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"--token {source}: {len(token)} characters; expected at least {_SHORTEST_TOKEN}, "
            "printable ASCII (is the variable or the file empty?)"
        )
    return token
