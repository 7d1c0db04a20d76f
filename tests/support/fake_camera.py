"""A camera on the network, as far as FFmpeg can tell: motion JPEG over HTTP from a thread."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from slimpose.arrays import Size
from synthetic_models import dot_image

PictureOf = Callable[[int], bytes]


def jpeg(image: np.ndarray) -> bytes:
    sound, data = cv2.imencode(".jpg", image)
    assert sound
    return data.tobytes()


def walking_dot(number: int, *, size: Size = Size(96, 96)) -> bytes:
    return jpeg(np.maximum(dot_image(size, 30 + number % 30, 40), 60))  # dark, not black


@dataclass(slots=True)
class FakeCamera:
    """What it sends can be changed while it runs.

    Attributes:
        picture: The JPEG of each picture by its number since the start.
        is_up: Whether it answers with pictures; without, it answers 503 and breaks off.
        is_silent: Whether it keeps the line open and sends nothing.
        login: Where it is set, this "user:password" must be given.
        tells_lengths: Whether each JPEG's length is told before it.
        transport_stream: Where it is set, these bytes are sent over and over instead of JPEGs.
        requests: How often somebody connected.
    """

    picture: PictureOf = walking_dot
    fps: float = 25.0
    is_up: bool = True
    is_silent: bool = False
    login: str = ""
    tells_lengths: bool = True
    transport_stream: bytes = b""
    requests: int = 0
    sent: int = 0
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def next_bytes(self) -> bytes:
        """What is sent for the next picture."""
        self.sent += 1
        if self.transport_stream:
            packet = 188 * 8  # about a picture of the tests
            start = (self.sent - 1) * packet % len(self.transport_stream)
            return self.transport_stream[start : start + packet]
        data = self.picture(self.sent - 1)
        length = f"Content-Length: {len(data)}\r\n" if self.tells_lengths else ""
        return f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n"


@contextmanager
def fake_camera(camera: FakeCamera | None = None) -> Iterator[FakeCamera]:
    """Serve a camera on a free port until the block ends."""
    told = camera or FakeCamera()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            told.requests += 1
            if not told.is_up:
                self.send_error(503)
                return
            login = f"Basic {base64.b64encode(told.login.encode()).decode()}"
            if told.login and self.headers.get("Authorization") != login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            kind = (
                "video/mp2t"
                if told.transport_stream
                else "multipart/x-mixed-replace; boundary=frame"
            )
            self.send_header("Content-Type", kind)
            self.end_headers()
            try:
                while told.is_up and not told.ended.is_set():
                    if told.is_silent:
                        told.ended.wait(0.05)
                        continue
                    self.wfile.write(told.next_bytes())
                    self.wfile.flush()
                    time.sleep(1 / told.fps)
            except OSError:
                pass  # the reader went away

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}/stream"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield told
    finally:
        told.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(2.0)
