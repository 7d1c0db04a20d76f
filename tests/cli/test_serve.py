"""``slimpose serve`` as a program of its own; the page is tested in tests/serve."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fake_camera import fake_camera
from image_files import encoded
from process_samples import sample
from run_cli import (
    DEADLINE_S,
    Capture,
    all_files,
    in_work_folder,
    json_lines,
    start,
    wait_until,
    write_models,
    write_walk,
)
from slimpose.arrays import Size
from synthetic_models import dot_image

Serve = Callable[..., int]
JPEG = encoded(".jpg", dot_image(Size(96, 96), 50, 40))
MINUTES = float(os.environ.get("SLIMPOSE_SERVE_MINUTES", "30"))


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    return in_work_folder("serve", tmp_path, monkeypatch)


def start_server(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server with synthetic models; return it and its port."""
    options = write_models(folder / "models")
    process = start("serve", *arguments, *options, "--port", "0", folder=folder)
    assert process.stderr is not None
    line = process.stderr.readline()
    address = re.fullmatch(r"slimpose: http://localhost:(\d+)/ \(Ctrl-C ends\)\n", line)
    assert address is not None, (line, process.communicate())
    return process, int(address[1])


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def state(port: int) -> dict[str, Any]:
    return json.loads(get(port, "/api/state")[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_what_has_begun(tmp_path: Path, number: signal.Signals) -> None:
    process, port = start_server(tmp_path)
    head = f"POST /poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(JPEG)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode() + JPEG[:200])
        wait_until(lambda: b"requests_open 1" in get(port, "/metrics")[1], process)
        process.send_signal(number)
        wait_until(lambda: is_refused(port), process)
        client.sendall(JPEG[200:])
        client.settimeout(30)
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["people"]) == 1
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_cameras_of_a_file_with_zones_and_events(tmp_path: Path) -> None:
    """The dot walks from 30 to 59 of 96 px in a second and starts again from the left."""
    with fake_camera() as camera:
        (tmp_path / "cameras.toml").write_text(
            f"""
[cameras.hall]
address = "{camera.url}"
conf = 0.2
[cameras.hall.zones.all]
points = [[0, 0], [1, 0], [1, 1], [0, 1]]
"""
        )
        arguments = ["--cameras", "cameras.toml", "--events", "e.jsonl"]
        process, port = start_server(tmp_path, *arguments)
        wait_until(lambda: state(port)["events"] != [], process)
        found = state(port)
        assert found["cameras"][0]["name"] == "hall"
        assert found["counts"] == [{"all": {"people": 1}}]
        assert "entered all" in found["events"][0]["text"]
        camera.is_up = False
        wait_until(lambda: state(port)["counts"] == [{"all": {"people": 0}}], process)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    events = json_lines((tmp_path / "e.jsonl").read_text())
    assert [event["kind"] for event in events[:2]] == ["enter", "count"]
    assert events[-1]["people"] == 0
    assert {event["camera"] for event in events} == {"hall"}


def test_cameras_are_known_before_their_first_frame(tmp_path: Path) -> None:
    """A page that is opened at once would show "No cameras" and stay so."""
    with fake_camera() as camera:
        camera.is_silent = True
        process, port = start_server(tmp_path, camera.url)
        found = [(one["state"], one["frames"]) for one in state(port)["cameras"]]
        process.terminate()
        process.communicate(timeout=60)
    assert found == [("connecting", 0)]


def test_settings_of_the_page_reach_the_cameras(tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PATCH", "/api/settings", json.dumps(values))
        assert connection.getresponse().status == 200
        connection.close()

    write_walk(tmp_path / "a.avi", 100)
    process, port = start_server(tmp_path, "a.avi", "--loop")
    wait_until(lambda: state(port)["cameras"][:1] != [], process)
    wait_until(lambda: state(port)["cameras"][0]["people"] == 1, process)
    change({"score_threshold": 0.95, "smooth": False})
    wait_until(lambda: state(port)["cameras"][0]["people"] == 0, process)
    change({"score_threshold": 0.3})
    wait_until(lambda: state(port)["cameras"][0]["people"] == 1, process)
    change({"enabled": [False]})
    wait_until(lambda: state(port)["cameras"][0]["state"] == "off", process)
    assert get(port, "/api/cameras/0/snapshot.jpg")[0] == 404
    frames = state(port)["cameras"][0]["frames"]
    time.sleep(1.0)
    assert state(port)["cameras"][0]["frames"] <= frames + 1
    change({"enabled": [True]})
    wait_until(lambda: state(port)["cameras"][0]["frames"] > frames + 5, process)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_hidden_people_are_in_no_image_that_is_shown(tmp_path: Path) -> None:
    def brightest() -> int:
        status, body = get(port, "/api/cameras/0/snapshot.jpg?poses=0")
        if status == 404:
            return -1
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        return int(image.max())

    write_walk(tmp_path / "a.avi", 100)
    process, port = start_server(tmp_path, "a.avi", "--loop", "--hide", "people")
    seen: list[int] = []
    wait_until(lambda: bool(seen.append(brightest())) or len(set(seen)) > 3, process)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert max(seen) < 120  # the person is a white dot
    assert process.returncode == 0, err
    assert "[0] a.avi: " in out
    assert "hidden" in out


def test_server_goes_on_after_the_end_of_its_videos(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.avi", 5)
    process, port = start_server(tmp_path, "a.avi")
    wait_until(lambda: [one["state"] for one in state(port)["cameras"]] == ["ended"], process)
    assert get(port, "/healthz")[0] == 200
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_beyond_this_computer_a_token_is_needed_and_printed(tmp_path: Path) -> None:
    process, port = start_server(tmp_path, "--host", "0.0.0.0")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("slimpose: the page asks for a token: ")
    token = line.split()[-1]
    assert get(port, "/api/state")[0] == 401
    assert get(port, "/api/state", Authorization=f"Bearer {token}")[0] == 200
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mp4"], "missing.mp4: no such file"),
        (["--port", "70000"], "--port is 70000; expected 0..65535"),
        (["--host", "203.0.113.9"], "cannot listen on 203.0.113.9, port 8080"),
        (["--token", "hunter2hunter2hunter2"], "--token has another form; expected env:NAME"),
        (["--max-queue", "0"], "--max-queue is 0; expected a number over 0"),
        (["--deadline-s", "inf"], "--deadline-s is inf; expected a number over 0"),
        (["--deadline-s", "1e308"], "--deadline-s is 1e+308; expected a number over 0 and at most"),
        (["--max-upload-mb", "1e308"], "--max-upload-mb is 1e+308; expected a number over 0"),
        (["--max-megapixels", "1e20"], "--max-megapixels is 1e+20; expected a number over 0"),
        (["--keypoint-threshold", "-1"], "--keypoint-threshold is -1; expected a number 0..1"),
        (["--keypoint-threshold", "inf"], "--keypoint-threshold is inf; expected a number 0..1"),
        (["--batch-ms", "-1"], "--batch-ms is -1; expected 0..1000"),
        (["--cameras", "missing.toml"], "no camera file missing.toml"),
        (["a.avi", "--cameras", "c.toml"], "SOURCE is 'a.avi' and --cameras c.toml; expected one"),
        (["--events", "."], "--events . is a folder"),
    ],
)
def test_invalid_arguments_are_rejected(
    serve: Serve, capfd: Capture, arguments: list[str], message: str
) -> None:
    assert serve(*arguments) == 2
    output = capfd.readouterr()
    assert message in output.err
    assert "hunter2" not in output.out + output.err
    assert all_files() == []


def test_events_are_not_written_over_a_file(serve: Serve, capfd: Capture) -> None:
    Path("e.jsonl").write_text("kept")
    Path("c.toml").write_text("[cameras.a]\naddress = 0\npostures = true\n")
    assert serve("--cameras", "c.toml", "--events", "e.jsonl") == 2
    assert "--events e.jsonl exists; --overwrite replaces it" in capfd.readouterr().err
    assert Path("e.jsonl").read_text() == "kept"
    assert serve("--cameras", "c.toml", "--events", "new.jsonl", "--no-track") == 2
    assert "camera a has zones, lines or postures" in capfd.readouterr().err


def test_port_in_use_is_reported(serve: Serve, capfd: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert serve("--port", str(other.getsockname()[1])) == 2
    assert "(does another program use the port?)" in capfd.readouterr().err


def watch_and_upload(port: int, ended: threading.Event) -> None:
    """A viewer that confirms its frames, reconnects now and then, and uploads images."""
    from websockets.sync.client import connect

    while not ended.is_set():
        try:
            with connect(f"ws://127.0.0.1:{port}/api/live", max_size=None) as socket_:
                for _ in range(200):
                    if isinstance(socket_.recv(timeout=10), bytes):
                        socket_.send('{"ready": 0}')
                    if ended.is_set():
                        return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/poses", JPEG)
            connection.getresponse().read()
            connection.close()
        except OSError:
            time.sleep(0.1)


@pytest.mark.slow
def test_long_run_does_not_grow(tmp_path: Path) -> None:
    """30 minutes; SLIMPOSE_SERVE_MINUTES=3 for a shorter one."""
    ended = threading.Event()
    with fake_camera() as camera:
        zone = "[cameras.a.zones.z]\npoints = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\n"
        text = f'[cameras.a]\naddress = "{camera.url}"\npostures = true\n{zone}'
        (tmp_path / "cameras.toml").write_text(text)
        arguments = ["--cameras", "cameras.toml", "--events", "e.jsonl"]
        process, port = start_server(tmp_path, *arguments)
        threads = [threading.Thread(target=watch_and_upload, args=(port, ended)) for _ in range(3)]
        for thread in threads:
            thread.start()
        samples = []
        try:
            until_s = time.monotonic() + 60 * MINUTES
            time.sleep(60 * MINUTES / 4)
            while time.monotonic() < until_s:
                assert process.poll() is None
                samples.append(sample(process.pid))
                camera.is_up = len(samples) % 5 != 0
                time.sleep(min(10.0, 3 * MINUTES))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
    half = len(samples) // 2
    before, after = (max(one.rss_mb for one in part) for part in (samples[:half], samples[half:]))
    curve = [
        f"{one.rss_mb:.1f}/{one.threads}/{one.descriptors}"
        for one in samples[:: max(1, len(samples) // 20)]
    ]
    print(f"MB/threads/descriptors: {' '.join(curve)}")
    print(f"{MINUTES:g} minutes: {before:.1f} MB in the first half, {after:.1f} MB in the second")
    assert after < before * 1.05 + 2
    # Python's own pool for encoding starts up to 4 threads more than there are processors.
    bound = max(one.threads for one in samples[:half]) + (os.cpu_count() or 1) + 4
    assert max(one.threads for one in samples[half:]) <= bound
    assert samples[-1].descriptors <= max(one.descriptors for one in samples[:half])
    assert process.returncode == 0
