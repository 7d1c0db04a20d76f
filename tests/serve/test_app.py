"""The paths of the server, over real connections."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from slimpose.areas import Line, Zone
from slimpose.serve.app import PAGE
from slimpose.serve.state import History, Settings
from walkers import poses_of
from web_server import WebServer, frame_result, state_of, web_server

ZONE = Zone(name="left", points=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
LINE = Line(name="gate", start=(0.5, 0.0), end=(0.5, 1.0))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server(areas=[[ZONE, LINE]]) as server:
        yield server


def test_page_and_its_files_are_served_with_a_strict_policy(server: WebServer) -> None:
    status, headers, body = server.request("GET", "/")
    assert status == 200
    assert b"slimpose" in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    for file in sorted(PAGE.iterdir()):
        status, headers, body = server.request("GET", f"/page/{file.name}")
        assert (status, body) == (200, file.read_bytes()), file.name
        assert headers["x-content-type-options"] == "nosniff"


def test_page_needs_nothing_from_elsewhere_and_nothing_inline() -> None:
    for file in PAGE.iterdir():
        text = file.read_text()
        assert set(re.findall(r"https?://[^\"$]+", text)) <= {"http://www.w3.org/2000/svg"}
        if file.suffix == ".html":
            assert "style=" not in text
            assert " onclick" not in text
            assert text.count("<script") == text.count('<script type="module" src="/page/')


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/", "/etc/passwd"]
)
def test_other_files_are_not_served(server: WebServer, path: str) -> None:
    assert server.request("GET", path)[0] == 404


def test_state_history_and_counts(server: WebServer) -> None:
    poses = poses_of([(20, 50)], ids=[7])
    for index in range(3):
        result = frame_result(np.zeros((100, 100, 3), np.uint8), poses, index=index)
        server.shared.history.add([result])
        server.shared.events.add([result])
    state = server.json("/api/state")
    assert state["cameras"][0]["name"] == "camera 0"
    assert state["counts"] == [{"left": {"people": 1}, "gate": {"in": 0, "out": 0}}]
    assert state["events"][0]["text"] == "camera 0: person 7 entered left"
    history = server.json("/api/history")
    assert history["bucket_s"] == 10
    (entry,) = history["cameras"][0]
    assert entry[2:] == [1.0, 1, 20.0]
    assert abs(entry[0] - time.time()) < 20


def test_history_keeps_one_hour() -> None:
    history = History(1)
    result = frame_result(np.zeros((8, 8, 3), np.uint8))
    for second in range(0, 7200, 5):
        history.add([result], now_s=1e9 + second)
    (entries,) = history.document()["cameras"]
    assert len(entries) == 360
    assert entries[0][:2] == [1e9 + 3600, 0.2]
    assert entries[-1][0] == 1e9 + 7190


def test_snapshot_has_the_full_size_and_poses_where_wanted(server: WebServer) -> None:
    image = np.full((400, 1600, 3), 90, np.uint8)
    server.shared.frames.publish([frame_result(image, poses_of([(300, 200)], ids=[1]))])
    drawn, plain = (
        cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        for _, _, body in (
            server.request("GET", f"/api/cameras/0/snapshot.jpg?poses={number}")
            for number in (1, 0)
        )
    )
    assert drawn is not None
    assert plain is not None
    assert drawn.shape == plain.shape == image.shape
    assert np.abs(plain.astype(int) - 90).max() < 4
    assert (np.abs(drawn.astype(int) - 90).max(axis=2) > 60).sum() > 100


@pytest.mark.parametrize("camera", ["0", "1", "99999999999999999999"])
def test_snapshot_without_a_frame_is_not_found(server: WebServer, camera: str) -> None:
    assert server.request("GET", f"/api/cameras/{camera}/snapshot.jpg")[0] == 404


def test_settings_change_by_part(server: WebServer) -> None:
    status, _, body = server.request(
        "PATCH", "/api/settings", b'{"score_threshold": 0.6, "enabled": [false]}'
    )
    assert (status, json.loads(body)) == (
        200,
        {"score_threshold": 0.6, "smooth": True, "enabled": [False]},
    )
    assert server.shared.settings == Settings(score_threshold=0.6, smooth=True, enabled=(False,))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "Expecting"),
        (b"[]", 400, "settings is []; expected an object"),
        (b'{"threshold": 1}', 400, "settings is 'threshold'; expected some of score_threshold"),
        (b'{"score_threshold": 1.5}', 400, "expected a finite number 0..1"),
        (b'{"score_threshold": NaN}', 400, "expected a finite number 0..1"),
        (b'{"enabled": [true, true]}', 400, "true or false for each of 1 cameras"),
        (b'{"enabled": [1]}', 400, "true or false for each of 1 cameras"),
        (b'{"smooth": "perhaps"}', 400, "expected 0 or 1"),
        (b"[" * 9000, 400, ""),
        (b" " * 20_000, 413, "too large"),
    ],
)
def test_invalid_settings_change_nothing(
    server: WebServer, body: bytes, status: int, message: str
) -> None:
    before = server.shared.settings
    got, _, answer = server.request("PATCH", "/api/settings", body)
    assert got == status
    assert message in json.loads(answer)["error"]
    assert server.shared.settings == before


def test_metrics_are_read_by_prometheus(server: WebServer) -> None:
    server.shared.cameras = [state_of('a "name"\\\n', state="waiting", dropped=5)]
    _, headers, body = server.request("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {one.name: one for one in text_string_to_metric_families(body.decode())}
    (live,) = families["slimpose_camera_live"].samples
    assert live.labels == {"camera": "0", "name": 'a "name"\\\n'}
    assert live.value == 0
    assert families["slimpose_camera_dropped"].samples[0].value == 5
    assert families["slimpose_camera_latency_seconds"].samples[1].value == 0.04


def test_metrics_have_zones_lines_and_postures() -> None:
    areas = [[ZONE, LINE]]
    with web_server(areas=areas, postures=True) as server:
        image, poses = np.zeros((96, 192, 3), np.uint8), poses_of([(30, 40)], ids=[7])
        server.shared.events.add([frame_result(image, poses, index=index) for index in range(3)])
        _, _, body = server.request("GET", "/metrics")
        postures = server.json("/api/state")["postures"]
    families = {one.name: one for one in text_string_to_metric_families(body.decode())}
    found = {
        (name, *list(sample.labels.values())[2:]): sample.value
        for name, family in families.items()
        for sample in family.samples
        if name.removeprefix("slimpose_") in ("zone_people", "line_crossings", "posture_people")
    }
    assert found == {
        ("slimpose_zone_people", "left"): 1,
        ("slimpose_line_crossings", "gate", "in"): 0,
        ("slimpose_line_crossings", "gate", "out"): 0,
        ("slimpose_posture_people", "standing"): 1,
    }
    kinds = {sample.labels["kind"]: sample.value for sample in families["slimpose_events"].samples}
    assert kinds == {"enter": 1, "count": 1, "posture": 1}
    assert postures == [{"7": "standing"}]


def test_health_reports_a_stalled_run(server: WebServer) -> None:
    assert server.request("GET", "/healthz")[0] == 200
    server.shared.alive_s = time.monotonic() - 60
    status, _, body = server.request("GET", "/healthz")
    assert status == 503
    assert "60 s" in json.loads(body)["error"]


def test_description_is_valid_and_lists_every_path(server: WebServer) -> None:
    document = server.json("/openapi.json")
    validate(document)
    for path, methods in document["paths"].items():
        for method in methods:
            status = server.request(method.upper(), path.replace("{camera}", "0"), b"")[0]
            assert status not in (404, 405) or "camera" in path, (path, method)
    source = Path(PAGE.with_name("app.py")).read_text()
    routes = [part.split('"')[0] for part in source.split('            Route("')[1:]]
    assert len(routes) == 10
    described = {path.replace("{camera}", "{camera:int}") for path in document["paths"]}
    assert set(routes) - {"/"} == described
