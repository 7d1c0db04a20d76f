"""HTTP and HTTPS connections with a time limit for a whole answer instead of one for each byte.

The time limit of a socket starts again with everything that arrives: a camera that sends a byte a
second would never be found out.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import Any, cast
from urllib.request import BaseHandler, HTTPHandler, HTTPSHandler, Request


class Deadline:
    """A point in time, at first in an infinite future."""

    def __init__(self) -> None:
        self._end_s = float("inf")

    def set(self, timeout_s: float) -> None:
        """Move it to this many seconds from now."""
        self._end_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the time until then.

        Raises:
            TimeoutError: If it has passed.
        """
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the time limit has passed")
        return left_s


def handlers(deadline: Deadline, context: ssl.SSLContext) -> tuple[BaseHandler, BaseHandler]:
    """Return urllib's handlers for connections that obey the deadline."""

    class HttpConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = cast(socket.socket, _TimedSocket(self.sock, deadline))

    class HttpsConnection(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = cast(socket.socket, _TimedSocket(self.sock, deadline))

    class Http(HTTPHandler):
        def http_open(self, req: Request) -> http.client.HTTPResponse:
            return self.do_open(HttpConnection, req)

    class Https(HTTPSHandler):
        def https_open(self, req: Request) -> http.client.HTTPResponse:
            return self.do_open(cast(Any, HttpsConnection), req, context=context)

    return Http(), Https(context=context)


class _TimedSocket:
    """A connected socket whose files obey a deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connected, deadline

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self._socket, self._deadline))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _TimedFile(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connected, deadline
        self._file = cast(io.RawIOBase, connected.makefile("rb", buffering=0))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._socket.settimeout(min(self._deadline.left_s(), 1e6))
        return cast(Any, self._file).readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
