"""Fetching an image that the user named by its address; nothing else is ever fetched."""

from __future__ import annotations

import http.client
import ssl
from urllib.error import HTTPError, URLError

from slimpose.media.addresses import plain_reason, redacted
from slimpose.media.images import ImageError
from slimpose.media.timed_http import HTTP_REASONS, Deadline, open_url

TIMEOUT_S = 30.0
"""Time limit of a whole answer."""
MAX_BYTES = 256_000_000


def fetch(url: str) -> bytes:
    """Return what is at an http:// or https:// address.

    Raises:
        ImageError: If it cannot be fetched in time, or is too large; passwords are hidden.
    """
    name, url = redacted(url), url.strip()
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ImageError(f"{name}: cannot fetch {scheme}://; expected http://, https:// or a path")
    try:
        with open_url(url, Deadline(), TIMEOUT_S, ssl.create_default_context()) as response:
            data = response.read(MAX_BYTES + 1)
    except HTTPError as error:
        with error:
            reason = HTTP_REASONS.get(error.code, "the host refuses")
            raise ImageError(f"{name}: {reason} (HTTP {error.code})") from None
    except TimeoutError as error:
        raise ImageError(f"{name}: no complete answer in {TIMEOUT_S:g} s") from error
    except URLError as error:
        cause = error.reason
        reason = plain_reason(cause) if isinstance(cause, Exception) else cause
        raise ImageError(f"{name}: the host cannot be reached: {reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = redacted(plain_reason(error).replace(url, name))
        raise ImageError(f"{name}: cannot be fetched: {reason}") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: more than {MAX_BYTES // 1_000_000} MB; expected an image")
    return data
