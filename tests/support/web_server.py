"""A server of ``slimpose serve`` in this process, with frames and states that a test publishes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from slimpose.areas import Area
from slimpose.events.run_events import RunEvents
from slimpose.media.addresses import Address
from slimpose.media.camera_file import CameraSettings
from slimpose.poses import Poses
from slimpose.runtime.frame_result import FrameResult
from slimpose.runtime.pipeline import Pipeline
from slimpose.serve.app import Shared, describe_area, make_app
from slimpose.serve.frames import NewestFrames
from slimpose.serve.pose_requests import PoseRequests, RequestLimits
from slimpose.serve.server import Server, listen
from slimpose.serve.state import CameraState, History, Settings
from slimpose.skeleton import COCO17


@dataclass(frozen=True, kw_only=True)
class WebServer:
    """A running server; ``shared`` is what the thread that processes cameras has."""

    port: int
    shared: Shared
    token: str | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower case) and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            values = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, values, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)


def state_of(name: str = "door", state: str = "live", **values: Any) -> CameraState:
    defaults: dict[str, Any] = {
        "problem": "",
        "fps": 10.0,
        "people": 1,
        "latency_p50_ms": 20.0,
        "latency_p95_ms": 40.0,
        "frames": 100,
        "dropped": 3,
        "damaged": 0,
        "connections": 1,
    }
    return CameraState(name=name, state=state, **{**defaults, **values})


def frame_result(
    image: np.ndarray, poses: Poses | None = None, *, camera: int = 0, index: int = 0
) -> FrameResult:
    return FrameResult(
        source="door",
        stem=f"camera-{camera}",
        camera=camera,
        frame_index=index,
        timestamp_s=1.8e9 + index,
        image=image,
        poses=Poses.empty(COCO17) if poses is None else poses,
        latency_ms=20.0,
    )


@contextmanager
def web_server(
    *,
    cameras: int = 1,
    areas: Sequence[Sequence[Area]] | None = None,
    postures: bool = False,
    token: str | None = None,
    open_pipeline: Callable[[], Pipeline] | None = None,
    limits: RequestLimits | None = None,
) -> Iterator[WebServer]:
    """Serve until the end of the block."""
    all_areas = areas or [()] * cameras
    names = [f"camera {number}" for number in range(cameras)]

    def no_models() -> Pipeline:
        raise AssertionError("this test has no models")

    with PoseRequests(open_pipeline or no_models, limits=limits) as requests:
        shared = Shared(
            skeleton=COCO17,
            keypoint_thresholds=[0.3] * cameras,
            frames=NewestFrames(cameras),
            history=History(cameras),
            requests=requests,
            settings=Settings(score_threshold=0.3, smooth=True, enabled=(True,) * cameras),
            areas=[[describe_area(area) for area in of_camera] for of_camera in all_areas],
            events=RunEvents(
                [
                    CameraSettings(
                        address=Address(kind="camera", name=name, target="0"),
                        areas=tuple(areas),
                        postures=postures,
                    )
                    for name, areas in zip(names, all_areas, strict=True)
                ]
            ),
            cameras=[state_of(name) for name in names],
        )
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        with Server(make_app(shared, token=token), listener, finish_s=5.0):
            yield WebServer(port=port, shared=shared, token=token)
