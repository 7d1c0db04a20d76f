"""Debian's GStreamer as a real RTSP server for tests; ``rtsp_server_program.py`` is its process."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

_PYTHON = "/usr/bin/python3"
_PROGRAM = Path(__file__).with_name("rtsp_server_program.py")
_CHECK = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(any(Gst.ElementFactory.find(name) is None for name in ("x264enc", "x265enc")))
"""
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly "
    "gstreamer1.0-plugins-bad"
)


@cache
def _is_installed() -> bool:
    if not Path(_PYTHON).exists():
        return False
    return subprocess.run([_PYTHON, "-c", _CHECK], capture_output=True, timeout=120).returncode == 0


class RtspServer:
    """A running server; ``url`` is the address of its stream."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self.port = "0"
        self.start()

    def start(self) -> None:
        """Start it, again on the port it had."""
        self._process = subprocess.Popen(
            [_PYTHON, str(_PROGRAM), "--port", self.port, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        assert self.port not in ("", "0"), "the server did not start"

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, login: str = "", query: str = "") -> str:
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}/stream{query}"

    def obey(self, command: str) -> None:
        """Send a command and wait until it is carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class ClockJumps:
    """A proxy in front of a server, over TCP, that shifts the timestamps of its RTP packets.

    Attributes:
        jump_s: What is added to them.
        shifted: Number of packets with another timestamp.
    """

    def __init__(self, server: RtspServer) -> None:
        self.jump_s, self.shifted = 0.0, 0
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/stream"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", int(self._server.port)))
                for copy in (self._requests, self._answers):
                    threading.Thread(target=copy, args=(client, camera), daemon=True).start()

    def _requests(self, client: socket.socket, camera: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                camera.sendall(data)
            camera.shutdown(socket.SHUT_RDWR)

    def _answers(self, client: socket.socket, camera: socket.socket) -> None:
        """Copy text line by line and packets, "$ channel length", with another timestamp."""
        with suppress(OSError), camera.makefile("rb") as answers, client:
            while first := answers.read(1):
                if first != b"$":
                    client.sendall(first + answers.readline())
                    continue
                header = answers.read(3)
                packet = bytearray(answers.read(int.from_bytes(header[1:], "big")))
                if header[0] % 2 == 0:  # RTP; the odd channels have RTCP
                    stamp = int.from_bytes(packet[4:8], "big") + int(self.jump_s * 90_000)
                    packet[4:8] = (stamp % (1 << 32)).to_bytes(4, "big")
                    self.shifted += self.jump_s != 0
                client.sendall(first + header + packet)


@contextmanager
def rtsp_server(*options: str) -> Iterator[RtspServer]:
    """Serve until the end of the block; the test is skipped where Debian's packages are missing."""
    if not _is_installed():
        pytest.skip(f"needs an RTSP server: apt install {PACKAGES}")
    server = RtspServer(*options)
    try:
        yield server
    finally:
        server.kill()
