"""The web server in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType

import uvicorn
import websockets  # noqa: F401 (uvicorn needs it for WebSockets, and starts without it)
from starlette.types import ASGIApp

from slimpose.media.addresses import plain_reason


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 selects a free one.

    Raises:
        ValueError: If the address is none of this computer's, or the port is in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot listen on {host}, port {port}: {plain_reason(error)} "
            "(does another program use the port?)"
        ) from error


class Server:
    """Runs an ASGI application in a thread; entered and left like a file.

    Leaving finishes the requests that have begun, for at most ``finish_s``.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket, *, finish_s: float) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws_max_size=65536,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=65536,
            timeout_graceful_shutdown=max(1, round(finish_s)),
        )
        self._server, self._listener = uvicorn.Server(config), listener
        self._finish_s = finish_s
        self.problem = "no reason given"
        self._thread = threading.Thread(target=self._run, name="slimpose-server", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(self._finish_s + 5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        except Exception as error:  # noqa: BLE001 (the main thread reports it)
            self.problem = f"{type(error).__name__}: {error}"
