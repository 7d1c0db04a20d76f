"""Who may use the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from slimpose.serve.tokens import is_loopback, read_token
from web_server import WebServer, frame_result, web_server

TOKEN = "correct-horse-battery"
PROTECTED = (
    ("GET", "/api/state"),
    ("GET", "/api/history"),
    ("PATCH", "/api/settings"),
    ("GET", "/api/cameras/0/snapshot.jpg"),
    ("POST", "/poses"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server(token=TOKEN) as server:
        server.shared.frames.publish([frame_result(np.zeros((8, 8, 3), np.uint8))])
        yield server


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "slimpose_token=wrong"},
        {"Cookie": "slimpose_token"},
        {"Authorization": "Bearer wrong", "Cookie": f"slimpose_token={TOKEN}"},
    ],
)
def test_wrong_token_sees_nothing(
    server: WebServer, method: str, path: str, headers: dict[str, str]
) -> None:
    status, _, body = server.request(method, path, b"{}", **headers)
    assert status == 401
    assert json.loads(body) == {
        "error": "no token, or a wrong one; expected Authorization: Bearer TOKEN"
    }


def test_page_without_the_token_asks_for_it(server: WebServer) -> None:
    status, _, body = server.request("GET", "/")
    assert status == 401
    assert b'id="token"' in body
    assert b"camera" not in body


def test_right_token_opens_everything(server: WebServer) -> None:
    assert server.request("GET", "/api/state", Authorization=f"Bearer {TOKEN}")[0] == 200
    status, headers, _ = server.request("POST", "/login", json.dumps({"token": TOKEN}).encode())
    assert status == 204
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    pair = cookie.partition(";")[0]
    assert server.request("GET", "/api/state", Cookie=pair)[0] == 200
    assert b"camera-template" in server.request("GET", "/", Cookie=pair)[2]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"token": "wrong"}', 401), (b"{}", 400), (b"[", 400), (b"x" * 20_000, 400)],
)
def test_wrong_login_sets_no_cookie(server: WebServer, body: bytes, status: int) -> None:
    got, headers, _ = server.request("POST", "/login", body)
    assert got == status
    assert "set-cookie" not in headers


def test_websocket_needs_the_token(server: WebServer) -> None:
    address = f"ws://127.0.0.1:{server.port}/api/live"
    with pytest.raises(InvalidStatus) as refused, connect(address):
        pass
    assert refused.value.response.status_code == 403
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with connect(address, additional_headers=headers) as socket:
        assert json.loads(socket.recv())["type"] == "hello"


def test_pages_of_other_websites_are_refused() -> None:
    with web_server() as server:
        host = f"127.0.0.1:{server.port}"
        for origin, status in (("http://evil.example", 403), (f"http://{host}", 200)):
            assert server.request("PATCH", "/api/settings", b"{}", Origin=origin)[0] == status
        assert server.request("GET", "/api/state", Host="evil.example")[0] == 403
        assert server.request("GET", "/api/state", Host=f"localhost:{server.port}")[0] == 200
        with (
            pytest.raises(InvalidStatus),
            connect(f"ws://{host}/api/live", origin="http://evil.example"),  # pyright: ignore
        ):
            pass


def test_token_is_needed_beyond_this_computer_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_token(None, host="127.0.0.1") is None
    first, second = (read_token(None, host="0.0.0.0") for _ in range(2))
    assert first is not None
    assert second is not None
    assert len(first) >= 32
    assert first != second
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(f"@{file}", host="127.0.0.1") == TOKEN
    monkeypatch.setenv("SLIMPOSE_TOKEN", TOKEN)
    assert read_token("env:SLIMPOSE_TOKEN", host="0.0.0.0") == TOKEN
    monkeypatch.setenv("SLIMPOSE_TOKEN", "short")
    for source, message in (
        (TOKEN, "expected env:NAME or @FILE"),
        ("env:SLIMPOSE_TOKEN", "5 characters; expected at least 16"),
        ("env:MISSING", "0 characters; expected at least 16"),
        (f"@{tmp_path}/missing", "cannot be read: No such file"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            read_token(source, host="0.0.0.0")
        assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("LOCALHOST", True), ("10.0.0.5", False), ("", False)],
)
def test_loopback_is_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
