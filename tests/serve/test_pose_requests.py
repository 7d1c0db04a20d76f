"""POST /poses: answers, batches, limits, malformed uploads."""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import slimpose
from fuzz_mutations import damaged_bytes
from image_files import encoded
from slimpose.arrays import Size
from slimpose.formats.results import people_as_json
from slimpose.poses import Poses
from slimpose.runtime.pipeline import Pipeline
from slimpose.serve.pose_requests import RequestLimits
from slimpose.skeleton import COCO17
from synthetic_models import dot_image
from web_server import WebServer, web_server

JPEG = encoded(".jpg", dot_image(Size(96, 96), 50, 40))


@pytest.fixture
def open_models(pose: Path, detector: Path) -> Callable[[], Pipeline]:
    return lambda: slimpose.load(pose, detector, threads=1)


@pytest.fixture
def server(open_models: Callable[[], Pipeline]) -> Iterator[WebServer]:
    with web_server(cameras=0, open_pipeline=open_models) as server:
        yield server


class SlowPipeline:
    """Models that wait until they may go on, and record the sizes of their batches."""

    def __init__(self) -> None:
        self.may_run = threading.Event()
        self.started = threading.Semaphore(0)
        self.batches: list[int] = []

    def __call__(self, images: list[np.ndarray]) -> list[Poses]:
        self.started.release()
        self.batches.append(len(images))
        assert self.may_run.wait(30)
        return [Poses.empty(COCO17) for _ in images]


def slow_server(pipeline: SlowPipeline, **limits: Any) -> Any:
    opened: Any = pipeline
    return web_server(cameras=0, open_pipeline=lambda: opened, limits=RequestLimits(**limits))


def error_of(body: bytes) -> str:
    return json.loads(body)["error"]


def test_answer_is_what_the_library_returns(
    server: WebServer, open_models: Callable[[], Pipeline]
) -> None:
    status, headers, body = server.request("POST", "/poses", JPEG)
    document = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert document == {
        "height": 96,
        "width": 96,
        "joints": list(COCO17.joints),
        "people": people_as_json(open_models()(JPEG)),
    }
    assert len(document["people"]) == 1


def test_turned_image_has_the_size_of_its_points(server: WebServer) -> None:
    image = Image.fromarray(np.full((40, 80, 3), 50, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    document = json.loads(server.request("POST", "/poses", file.getvalue())[2])
    assert (document["height"], document["width"]) == (80, 40)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request has no body; expected an image file"),
        (b"hello", "not an image OpenCV can decode"),
        (JPEG[:-40], "truncated"),
    ],
)
def test_what_is_no_image_is_rejected(server: WebServer, body: bytes, message: str) -> None:
    status, _, answer = server.request("POST", "/poses", body)
    assert status == 400
    assert message in error_of(answer)


def test_broken_image_of_a_batch_fails_alone(server: WebServer) -> None:
    bodies = [JPEG, b"hello", JPEG[:-40], JPEG] * 3
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda body: server.request("POST", "/poses", body), bodies))
    assert [status for status, _, _ in found] == [200, 400, 400, 200] * 3
    assert {answer for status, _, answer in found if status == 200} == {found[0][2]}


def test_concurrent_requests_share_batches() -> None:
    pipeline = SlowPipeline()
    with slow_server(pipeline) as server, ThreadPoolExecutor(20) as pool:
        first = [pool.submit(server.request, "POST", "/poses", JPEG) for _ in range(2)]
        for _ in range(2):  # both threads of the server are busy
            assert pipeline.started.acquire(timeout=30)
        others = [pool.submit(server.request, "POST", "/poses", JPEG) for _ in range(12)]
        wait_for(lambda: server.shared.requests.open == 14)
        pipeline.may_run.set()
        assert {future.result()[0] for future in [*first, *others]} == {200}
        counts = server.shared.requests.counts
    assert sum(pipeline.batches) == counts.images == 14
    assert pipeline.batches[:2] == [1, 1]
    assert max(pipeline.batches) >= 6
    assert counts.batches == len(pipeline.batches)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_full_queue_is_429_and_late_requests_are_504() -> None:
    pipeline = SlowPipeline()
    with (
        slow_server(pipeline, max_queue=3, deadline_s=1.0) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        running = [pool.submit(server.request, "POST", "/poses", JPEG) for _ in range(2)]
        for _ in range(2):
            assert pipeline.started.acquire(timeout=30)
        late = pool.submit(server.request, "POST", "/poses", JPEG)
        wait_for(lambda: server.shared.requests.open == 3)
        status, headers, body = server.request("POST", "/poses", JPEG)
        assert (status, headers["retry-after"]) == (429, "1")
        assert error_of(body) == "3 requests are open; expected fewer (try again later)"
        status, headers, body = late.result()
        assert (status, headers["retry-after"]) == (504, "1")
        assert error_of(body) == "no turn within 1 s (too many requests?)"
        pipeline.may_run.set()
        assert [future.result()[0] for future in running] == [200, 200]  # begun in time
        assert server.request("POST", "/poses", JPEG)[0] == 200
        assert server.shared.requests.counts.by_status == {200: 3, 429: 1, 504: 1}


def test_large_uploads_and_images_are_413(open_models: Callable[[], Pipeline]) -> None:
    limits = RequestLimits(max_upload_bytes=50_000, max_pixels=10_000)
    with web_server(cameras=0, open_pipeline=open_models, limits=limits) as server:
        status, headers, body = server.request("POST", "/poses", b"x" * 60_000)
        assert (status, headers["connection"]) == (413, "close")
        assert error_of(body) == "the body is too large; expected at most 0.05 MB"
        large = encoded(".png", np.zeros((200, 51, 3), np.uint8))
        status, _, body = server.request("POST", "/poses", large)
        assert status == 413
        assert error_of(body) == "the image has 51x200 pixels; expected at most 0.01 million"
        assert server.request("POST", "/poses", JPEG)[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        parts = (b"x" * 10_000 for _ in range(10))
        connection.request(
            "POST", "/poses", parts, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        assert connection.getresponse().status == 413


def test_slow_upload_is_408_and_leaves_the_queue(open_models: Callable[[], Pipeline]) -> None:
    limits = RequestLimits(deadline_s=0.5)
    with web_server(cameras=0, open_pipeline=open_models, limits=limits) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            head = f"POST /poses HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            client.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode() + JPEG[:100])
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        wait_for(lambda: server.shared.requests.open == 0)


def test_client_that_leaves_is_forgotten() -> None:
    pipeline = SlowPipeline()
    with slow_server(pipeline) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                head = f"POST /poses HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                client.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode() + JPEG[:100])
        wait_for(lambda: server.shared.requests.counts.by_status == {400: 3})
        assert server.shared.requests.open == 0
        pipeline.may_run.set()


def test_models_that_fail_are_reported_and_the_server_goes_on() -> None:
    class Failing:
        calls = 0

        def __call__(self, images: list[np.ndarray]) -> list[Poses]:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("out of memory at /home/me/model.onnx")
            return [Poses.empty(COCO17) for _ in images]

    failing: Any = Failing()
    with web_server(cameras=0, open_pipeline=lambda: failing) as server:
        status, _, body = server.request("POST", "/poses", JPEG)
        assert (status, error_of(body)) == (500, "the models failed: RuntimeError")
        assert server.request("POST", "/poses", JPEG)[0] == 200


def malformed_uploads(count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 80, 3), np.uint8)
    seeds = [encoded(suffix, image) for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff")]
    for number in range(count):
        yield damaged_bytes(random.Random(number), seeds[number % len(seeds)])


def rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_thousand_malformed_uploads(server: WebServer) -> None:
    def upload(data: bytes) -> int:
        return server.request("POST", "/poses", data)[0]

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(upload, malformed_uploads(300)))
        before_mb, threads = rss_mb(), threading.active_count()
        statuses += list(pool.map(upload, malformed_uploads(1000)))
    assert set(statuses) <= {200, 400, 413}
    assert statuses.count(400) > 400
    grown_mb = rss_mb() - before_mb
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(f"1300 malformed uploads: {counts}, {grown_mb:+.1f} MB over the last 1000")
    assert grown_mb < 30
    assert threading.active_count() <= threads
    assert server.shared.requests.open == 0
    assert server.request("POST", "/poses", JPEG)[0] == 200
