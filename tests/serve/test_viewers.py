"""WebSockets of viewers: newest frames only, one at a time."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from slimpose.poses import Poses
from slimpose.serve.frames import encode_packet, people_of
from slimpose.skeleton import COCO17
from walkers import poses_of
from web_server import WebServer, frame_result, web_server

IMAGE = np.full((80, 120, 3), 70, np.uint8)


def viewer(server: WebServer) -> Any:
    return connect(f"ws://127.0.0.1:{server.port}/api/live", max_size=None)


def next_frame(connection: ClientConnection, timeout_s: float = 10.0) -> dict[str, Any]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        data = connection.recv(timeout=max(0.0, deadline_s - time.monotonic()))
        if isinstance(data, bytes):
            return header_of(data)


def header_of(packet: bytes) -> dict[str, Any]:
    (length,) = struct.unpack(">I", packet[:4])
    return json.loads(packet[4 : 4 + length])


def image_of(packet: bytes) -> np.ndarray:
    (length,) = struct.unpack(">I", packet[:4])
    image = cv2.imdecode(np.frombuffer(packet[4 + length :], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_packet_has_image_and_people_in_pixels_of_the_camera() -> None:
    poses = poses_of([(400, 300), (900, 400)], ids=[3, 8])
    packet = encode_packet(frame_result(np.full((1080, 1920, 3), 70, np.uint8), poses, index=5))
    header = header_of(packet)
    assert image_of(packet).shape == (540, 960, 3)
    assert (header["width"], header["height"], header["frame"]) == (1920, 1080, 5)
    assert [person["id"] for person in header["people"]] == [3, 8]
    np.testing.assert_allclose(
        np.reshape(header["people"][1]["keypoints"], (17, 3))[:, :2],
        poses.points_image[1],
        atol=0.006,
    )
    assert people_of(Poses.empty(COCO17)) == []


def test_viewer_gets_hello_state_and_frames() -> None:
    with web_server() as server, viewer(server) as connection:
        hello = json.loads(connection.recv())
        assert hello["type"] == "hello"
        assert hello["joints"] == list(COCO17.joints)
        assert hello["cameras"][0]["name"] == "camera 0"
        assert json.loads(connection.recv())["type"] == "state"
        server.shared.frames.publish([frame_result(IMAGE, index=1)])
        assert next_frame(connection)["frame"] == 1
        server.shared.frames.publish([frame_result(IMAGE, index=2)])
        with pytest.raises(TimeoutError):  # the first one is not confirmed
            next_frame(connection, 1.5)
        server.shared.frames.publish([frame_result(IMAGE, index=3)])
        connection.send('{"ready": 0}')
        assert next_frame(connection)["frame"] == 3
        connection.send('{"show": []}')
        connection.send('{"ready": 0}')
        time.sleep(0.2)
        server.shared.frames.publish([frame_result(IMAGE, index=4)])
        with pytest.raises(TimeoutError):
            next_frame(connection, 1.0)
        connection.send('{"show": [0]}')
        assert next_frame(connection)["frame"] == 4
        assert server.shared.viewers == 1


@pytest.mark.parametrize("message", ["{", "[]", '"x"', '{"ready": "x"}', '{"show": 1}', "{}"])
def test_other_messages_end_the_connection(message: str) -> None:
    with web_server() as server:
        with viewer(server) as connection:
            connection.send(message)
            assert close_code(connection) == 1008
        wait_for_viewers(server, 0)


def test_unknown_cameras_are_ignored() -> None:
    with web_server() as server, viewer(server) as connection:
        connection.send('{"ready": 99}')
        connection.send('{"show": [99, -1, 0]}')
        server.shared.frames.publish([frame_result(IMAGE, index=1)])
        assert next_frame(connection)["frame"] == 1


def close_code(connection: ClientConnection) -> int | None:
    """Receive until the end; return the code of the server."""
    try:
        while True:
            connection.recv(timeout=10)
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


def wait_for_viewers(server: WebServer, count: int) -> None:
    deadline_s = time.monotonic() + 20
    while server.shared.viewers != count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_viewer_that_reads_nothing_holds_up_no_one() -> None:
    """It reads nothing, so its one frame stays in the sockets and all further ones are skipped."""
    noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3), np.uint8)
    with web_server() as server:
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", server.port))
            stuck.sendall(
                f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            wait_for_viewers(server, 1)
            with viewer(server) as connection:
                got: list[int] = []
                for index in range(30):
                    started_s = time.perf_counter()
                    server.shared.frames.publish([frame_result(noise, index=index)])
                    assert time.perf_counter() - started_s < 0.5
                    got.append(next_frame(connection)["frame"])
                    connection.send('{"ready": 0}')
                assert got == list(range(30))
        wait_for_viewers(server, 0)


def test_frame_is_encoded_once_for_all_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    lock = threading.Lock()

    def counting(result: Any) -> bytes:
        with lock:
            encoded.append(result.frame_index)
        return encode_packet(result)

    monkeypatch.setattr("slimpose.serve.frames.encode_packet", counting)
    with web_server() as server:
        server.shared.frames.publish([frame_result(IMAGE, index=0)])
        assert encoded == []  # no one watches
        with viewer(server) as first, viewer(server) as second, viewer(server) as third:
            connections = (first, second, third)
            assert [next_frame(one)["frame"] for one in connections] == [0, 0, 0]
            for one in connections:
                one.send('{"ready": 0}')
            time.sleep(0.3)
            server.shared.frames.publish([frame_result(IMAGE, index=1)])
            assert [next_frame(one)["frame"] for one in connections] == [1, 1, 1]
    assert sorted(encoded) in ([0, 1], [0, 0, 1])  # the first one again where a viewer came late


def test_end_of_the_server_ends_the_viewers() -> None:
    with web_server() as server:
        connection = viewer(server)
        connection.recv()
    assert close_code(connection) in (1001, 1012)
