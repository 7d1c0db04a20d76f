"""An RTSP server for tests, run by Debian's Python with its GStreamer: `python3 FILE OPTIONS`.

It prints its port, serves /stream, and obeys the commands on its standard input: `silence` (no more
packets, the connection stays), `freeze` (the same frame again and again), `go` (normal again).
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import gi  # pyright: ignore[reportMissingImports]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)

WIDTH, HEIGHT, FPS = 160, 120, 25
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph265pay",
}


class Frames:
    """Pushes frames of a moving square into the pipeline."""

    def __init__(self) -> None:
        self.mode = "go"
        self.number = 0

    def image(self) -> bytes:
        rows = [bytearray(b"\x50" * WIDTH) for _ in range(HEIGHT)]
        left = 4 * self.number % (WIDTH - 20)
        for row in rows[50:70]:
            row[left : left + 20] = b"\xe0" * 20
        # Gray values to Y, U and V.
        return b"".join(rows) + b"\x80" * (WIDTH * HEIGHT // 2)

    def push(self, source: Gst.Element) -> None:
        started_s = time.monotonic()
        sent = 0
        while True:
            time.sleep(max(0.0, started_s + sent / FPS - time.monotonic()))
            sent += 1
            if self.mode == "silence":
                continue
            if self.mode == "go":
                self.number += 1
            buffer = Gst.Buffer.new_wrapped(self.image())
            buffer.pts = int(sent * Gst.SECOND / FPS)
            buffer.duration = Gst.SECOND // FPS
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", default="0")
    options.add_argument("--codec", default="h264", choices=list(ENCODERS))
    options.add_argument("--transport", default="", choices=["", "tcp", "udp"])
    options.add_argument("--login", default="")
    given = options.parse_args()
    Gst.init(None)
    frames = Frames()
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        "( appsrc name=frames is-live=true format=time caps=video/x-raw,format=I420,"
        f"width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! {ENCODERS[given.codec]} "
        "config-interval=1 name=pay0 pt=96 )"
    )
    if given.transport == "tcp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    elif given.transport == "udp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)

    def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
        element = media.get_element()
        source = element.get_child_by_name("frames")
        threading.Thread(target=frames.push, args=(source,), daemon=True).start()

    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(given.port)
    if given.login:
        user, _, password = given.login.partition(":")
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(user, password, token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string(
                "viewer,media.factory.access=true,media.factory.construct=true"
            )[0]
        )
    server.get_mount_points().add_factory("/stream", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)

    def obey() -> None:
        for line in sys.stdin:
            frames.mode = line.strip()
            print("done", flush=True)

    threading.Thread(target=obey, daemon=True).start()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
