"""Who may use the server: a token beyond this computer, this computer's own pages without one."""

from __future__ import annotations

import hmac
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slimpose.serve.tokens import is_loopback

COOKIE = "slimpose_token"
_PUBLIC = ("/", "/healthz", "/login", "/page/")
"""Paths that need no token: they show nothing of the cameras; a page asks for the token there."""
_SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Access:
    """ASGI middleware that rejects requests without the token, and those of other websites.

    With a token, requests need it as ``Authorization: Bearer`` or as the cookie of ``/login``.
    Without one, ``Host`` must name this computer, so that no website can reach the server by a
    name of its own that leads here. In both cases requests that change something, and WebSockets,
    must come from the server's own page or from a program.
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            status, reason = refusal
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            response: Response = JSONResponse({"error": reason}, status, headers)
            await response(scope, receive, _with_headers(send))

    def accepts(self, token: str) -> bool:
        """Return whether this is the token."""
        return self._token is None or hmac.compare_digest(token.encode(), self._token.encode())

    def is_let_in(self, headers: Headers) -> bool:
        """Return whether a request has the token, or needs none."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.accepts(bearer.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except Exception:  # noqa: BLE001 (http.cookies raises several kinds)
            cookie = None
        return self._token is None or (cookie is not None and self.accepts(cookie.value))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason of a rejection; None where there is none."""
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_host_of(host)):
            return 403, "this server is for this computer only; expected localhost as Host"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        origin = headers.get("origin")
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "the request comes from the page of another website"
        is_public = path in _PUBLIC or path.startswith(_PUBLIC[-1])
        if not is_public and not self.is_let_in(headers):
            return 401, "no token, or a wrong one; expected Authorization: Bearer TOKEN"
        return None


def _host_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers
