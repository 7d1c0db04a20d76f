"""A network camera for tests: motion JPEG over HTTP from a thread."""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from image_files import encoded
from slimpose.arrays import Size
from synthetic_models import dot_image

CERTIFICATE = Path(__file__).with_name("fake_camera.pem")
"""Self-signed for 127.0.0.1, with its key, valid until 2126:
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
-subj /CN=camera -addext subjectAltName=IP:127.0.0.1"""

JpegOfFrame = Callable[[int], bytes]


def walking_dot(number: int, *, size: Size = Size(96, 96)) -> bytes:
    image = np.maximum(dot_image(size, 30 + number % 30, 40), 60)  # dark, not black
    return encoded(".jpg", image)


@dataclass(slots=True)
class FakeCamera:
    """State of the camera; changes take effect while it runs.

    Attributes:
        frame: Returns the JPEG of each frame by its number since the start.
        is_up: Whether it answers; otherwise it answers 503 and drops its connections.
        is_silent: Whether it keeps connections open and sends nothing.
        login: If set, this "user:password" is required.
        is_trickling: Whether it sends a byte of a frame now and then and never completes it.
        is_encrypted: Whether it speaks HTTPS, with a self-signed certificate.
        sends_lengths: Whether it sends the length of each JPEG before it.
        transport_stream: If set, these bytes are sent repeatedly instead of JPEGs.
        requests: Number of requests so far.
    """

    frame: JpegOfFrame = walking_dot
    fps: float = 25.0
    is_up: bool = True
    is_silent: bool = False
    is_trickling: bool = False
    is_encrypted: bool = False
    login: str = ""
    sends_lengths: bool = True
    transport_stream: bytes = b""
    requests: int = 0
    sent: int = 0
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def next_bytes(self) -> bytes:
        """Return what is sent for the next frame."""
        self.sent += 1
        if self.transport_stream:
            packet = 188 * 8  # about one frame of the tests
            start = (self.sent - 1) * packet % len(self.transport_stream)
            return self.transport_stream[start : start + packet]
        data = self.frame(self.sent - 1)
        length = f"Content-Length: {len(data)}\r\n" if self.sends_lengths else ""
        return f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n"


@contextmanager
def fake_camera(camera: FakeCamera | None = None) -> Iterator[FakeCamera]:
    """Serve a camera on a free port until the end of the block."""
    state = camera or FakeCamera()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            state.requests += 1
            if not state.is_up:
                self.send_error(503)
                return
            expected_login = f"Basic {base64.b64encode(state.login.encode()).decode()}"
            if state.login and self.headers.get("Authorization") != expected_login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            content_type = (
                "video/mp2t"
                if state.transport_stream
                else "multipart/x-mixed-replace; boundary=frame"
            )
            self.send_header("Content-Type", content_type)
            self.end_headers()
            try:
                while state.is_up and not state.ended.is_set():
                    if state.is_silent:
                        state.ended.wait(0.05)
                        continue
                    if state.is_trickling:
                        self.wfile.write(b"--frame\r\nContent-Length: 9000\r\n\r\n\xff\xd8")
                    while state.is_trickling and state.is_up:
                        self.wfile.write(b"\xff")
                        state.ended.wait(0.05)
                    self.wfile.write(state.next_bytes())
                    self.wfile.flush()
                    time.sleep(1 / state.fps)
            except OSError:
                pass  # the client has gone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if state.is_encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if state.is_encrypted else "http"
    state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/stream"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(2.0)
