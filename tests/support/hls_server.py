"""A live HLS stream for tests: Debian's ffmpeg writes it, a web server hands it out."""

from __future__ import annotations

import functools
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fake_camera import CERTIFICATE

Writer = subprocess.Popen[bytes]


@contextmanager
def hls_server(folder: Path, *, is_encrypted: bool = False) -> Iterator[tuple[str, Writer]]:
    """Provide the address of a stream in segments of a second, and the process that writes it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt install ffmpeg")
    source = "testsrc=size=160x120:rate=25"
    command = f"ffmpeg -v error -re -f lavfi -i {source} -c:v libx264 -preset ultrafast -g 25 "
    command += "-f hls -hls_time 1 -hls_list_size 6 -hls_flags delete_segments live.m3u8"
    writer = subprocess.Popen(command.split(), cwd=folder, stdin=subprocess.DEVNULL)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    server.daemon_threads = True
    if is_encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        deadline_s = time.monotonic() + 60
        while not (folder / "live3.ts").exists():
            assert time.monotonic() < deadline_s, "ffmpeg wrote no segments"
            time.sleep(0.1)
        scheme = "https" if is_encrypted else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/live.m3u8", writer
    finally:
        writer.kill()
        writer.wait()
        server.shutdown()
        server.server_close()
