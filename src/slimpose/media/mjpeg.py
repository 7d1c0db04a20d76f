"""Motion JPEG over HTTP, read without FFmpeg.

OpenCV scales what FFmpeg gives to the size that the first picture had (opencv/opencv#27116) and
says nothing: a camera that changes its resolution would be squeezed. It gives no reason either for
an address that cannot be opened.
"""

from __future__ import annotations

import http.client
import re
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    ProxyHandler,
    build_opener,
)

from slimpose.arrays import Image
from slimpose.media.addresses import SourceError
from slimpose.media.images import ImageError, decode_image

_MOST_BYTES = 64_000_000
_REFUSALS = {
    401: "the user or the password is wrong",
    403: "this is not allowed",
    404: "nothing is at this path",
}


class MotionJpegStream:
    """A stream of JPEGs, one after the other."""

    def __init__(self, response: http.client.HTTPResponse, boundary: bytes) -> None:
        self._response, self._boundary = response, boundary

    def read(self) -> Image | None:
        """Return the next picture as RGB; None for a damaged one.

        Raises:
            SourceError: If the stream ended, or nothing came in time.
        """
        try:
            data = self._part()
        except TimeoutError as error:
            raise SourceError("no frame arrived in time") from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"the connection broke: {error}") from error
        try:
            return decode_image(data, name="picture")
        except ImageError:
            return None

    def close(self) -> None:
        """End the connection."""
        self._response.close()

    def _part(self) -> bytes:
        """The bytes of the next part: as many as it says, else those until the next boundary."""
        length, is_inside = -1, False
        while True:
            line = self._response.readline(_MOST_BYTES)
            if not line:
                raise SourceError("the stream ended")
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length, is_inside = int(value), True
            elif name.strip().lower() == b"content-type" or self._is_boundary(line):
                is_inside = True
            elif is_inside and not line.strip():
                break
        if length >= 0:
            return self._response.read(min(length, _MOST_BYTES))
        data = b""
        while len(data) < _MOST_BYTES:
            line = self._response.readline(_MOST_BYTES)
            if not line or self._is_boundary(line):
                break
            data += line
        return data

    def _is_boundary(self, line: bytes) -> bool:
        """Whatever dashes a camera puts around it."""
        return line.strip().strip(b"-") == self._boundary


def open_stream(url: str, *, timeout_s: float) -> MotionJpegStream | None:
    """Open an http:// address; None if what answers sends no motion JPEG.

    Raises:
        SourceError: If it refuses; the message does not name it.
    """
    parts = urlsplit(url)
    passwords = HTTPPasswordMgrWithDefaultRealm()
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    if parts.username is not None:
        passwords.add_password(None, place, unquote(parts.username), unquote(parts.password or ""))
    opener = build_opener(
        ProxyHandler({}), HTTPBasicAuthHandler(passwords), HTTPDigestAuthHandler(passwords)
    )
    try:
        response = opener.open(place, timeout=timeout_s)
    except HTTPError as error:
        with error:
            raise SourceError(
                f"{_REFUSALS.get(error.code, 'the host refuses')} (HTTP {error.code})"
            ) from None
    except (URLError, OSError, http.client.HTTPException, ValueError):
        return None  # FFmpeg may know better, and our own words for a host that cannot be reached come after that
    kind = response.headers.get("Content-Type", "")
    boundary = re.search(r'boundary="?-*([^";]+)', kind)
    if not kind.lower().startswith("multipart/") or boundary is None:
        response.close()
        return None
    return MotionJpegStream(response, boundary[1].strip().strip("-").encode())
