"""Motion JPEG over HTTP and HTTPS, read without FFmpeg.

OpenCV silently scales FFmpeg's frames to the size of the first frame (opencv/opencv#27116): the
frames of a camera that changes its resolution would be distorted. It also reports no reason if an
address cannot be opened.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable
from urllib.error import HTTPError, URLError

from slimpose.arrays import Image
from slimpose.media.addresses import SourceError
from slimpose.media.frame import SQUARE
from slimpose.media.image_formats import read_structure
from slimpose.media.images import ImageError, decode_single
from slimpose.media.timed_http import HTTP_REASONS, Deadline, open_url

_MAX_BYTES = 64_000_000
_JPEG_ENDS = (b"\xff\xd9\r\n", b"\xff\xd9\n")


class LateFrameError(SourceError):
    """No frame arrived in time."""


class MotionJpegStream:
    """An open HTTP response with a sequence of JPEG images; each has a time limit."""

    pixel_aspect = SQUARE

    def __init__(
        self,
        response: http.client.HTTPResponse,
        boundary: bytes,
        *,
        deadline: Deadline,
        timeout_s: float,
    ) -> None:
        self._response, self._boundary = response, boundary
        self._deadline, self._timeout_s = deadline, timeout_s

    def read(self) -> Image | None:
        """Return the next frame as RGB; None if it is damaged.

        Raises:
            SourceError: If the stream ended, or no frame arrived in time.
        """
        self._deadline.set(self._timeout_s)
        try:
            data = self._read_part()
        except TimeoutError as error:
            raise LateFrameError("no frame arrived in time") from error
        except (OSError, http.client.HTTPException) as error:
            reason = f": {error.strerror}" if isinstance(error, OSError) else ""
            raise SourceError(f"the connection broke{reason}") from error
        try:
            return decode_single(data, read_structure(data), name="frame")
        except ImageError:
            return None

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def _read_part(self) -> bytes:
        """Read the body of the next part: by its content length, else up to the JPEG's end.

        Without an end marker up to the next boundary, which comes with the next frame.
        """
        length, is_inside = -1, False
        while True:
            line = self._response.readline(_MAX_BYTES)
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
            return self._response.read(min(length, _MAX_BYTES))
        data = b""
        while len(data) < _MAX_BYTES:
            line = self._response.readline(_MAX_BYTES)
            if not line or self._is_boundary(line):
                break
            data += line
            if line.endswith(_JPEG_ENDS) and read_structure(data).is_complete:
                break
        return data

    def _is_boundary(self, line: bytes) -> bool:
        """Whether a line is the boundary, with any number of dashes around it."""
        return line.strip().strip(b"-") == self._boundary


def open_stream(
    url: str, *, timeout_s: float, frame_timeout_s: float, report: Callable[[str], None]
) -> MotionJpegStream | None:
    """Open an http:// or https:// address; return None if the response is not Motion JPEG.

    ``timeout_s`` is for the answer, ``frame_timeout_s`` for each frame. Cameras mostly have
    self-signed certificates: those are accepted and reported.

    Raises:
        SourceError: If the host refuses; the message does not contain the address.
    """
    deadline = Deadline()
    try:
        try:
            response = open_url(url, deadline, timeout_s, ssl.create_default_context(), proxy=False)
        except URLError as error:
            if not isinstance(error.reason, ssl.SSLCertVerificationError):
                raise
            report(
                "its certificate cannot be verified "
                f"({error.reason.verify_message}): the connection is encrypted, "
                "but who answers is not known"
            )
            response = open_url(url, deadline, timeout_s, _unverified_context(), proxy=False)
    except HTTPError as error:
        with error:
            reason = HTTP_REASONS.get(error.code, "the host refuses")
            raise SourceError(f"{reason} (HTTP {error.code})") from None
    except (URLError, OSError, http.client.HTTPException, ValueError):
        # FFmpeg may be able to open it; if not, stream_reader explains why the host is unreachable.
        return None
    kind = response.headers.get("Content-Type", "")
    boundary = re.search(r'boundary="?-*([^";]+)', kind)
    if not kind.lower().startswith("multipart/") or boundary is None:
        response.close()
        return None
    return MotionJpegStream(
        response,
        boundary[1].strip().strip("-").encode(),
        deadline=deadline,
        timeout_s=frame_timeout_s,
    )


def _unverified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
