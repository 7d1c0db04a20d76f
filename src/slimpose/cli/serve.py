"""``slimpose serve``."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from slimpose.cli.console import plain_console
from slimpose.cli.options import ModelFileOptions, ModelOptions, TrackingOptions
from slimpose.cli.stop_signals import stop_on_signals
from slimpose.draw import DRAWN_JOINT_SCORE
from slimpose.media import addresses
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.runtime.multi_camera import CameraGroup
from slimpose.serve.frames import NewestFrames
from slimpose.serve.pose_requests import PoseRequests, RequestLimits
from slimpose.serve.state import History, Settings
from slimpose.serve.tokens import is_loopback, read_token

if TYPE_CHECKING:
    from slimpose.serve.app import Shared
    from slimpose.serve.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where the server listens, and who may use it.

    Attributes:
        host: Address to listen on; 0.0.0.0 is all of this computer's. Beyond this computer a token
            is needed.
        port: Port to listen on; 0 is a free one.
        token: Where the token is: env:NAME or @FILE. By default a random one is printed where one
            is needed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port is {self.port}; expected 0..65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Limits of POST /poses.

    Attributes:
        max_upload_mb: Largest image file in megabytes; larger ones get status 413.
        max_megapixels: Largest image in millions of pixels; larger ones get status 413.
        max_queue: Most requests at the same time; further ones get status 429.
        deadline_s: Requests that have no turn by then get status 504.
        batch_ms: Longest wait for further images of the same batch that are being uploaded.
    """

    max_upload_mb: float = 20.0
    max_megapixels: float = 50.0
    max_queue: int = 64
    deadline_s: float = 10.0
    batch_ms: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_upload_mb", "max_megapixels", "max_queue", "deadline_s"):
            if not 0 < getattr(self, name) < float("inf"):
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is {getattr(self, name):g}; expected a number over 0")
        if not 0 <= self.batch_ms <= 1000:
            raise ValueError(f"--batch-ms is {self.batch_ms:g}; expected 0..1000 milliseconds")

    def limits(self) -> RequestLimits:
        """Return the limits in the server's units."""
        return RequestLimits(
            max_upload_bytes=round(1e6 * self.max_upload_mb),
            max_pixels=round(1e6 * self.max_megapixels),
            max_queue=self.max_queue,
            deadline_s=self.deadline_s,
            batch_s=self.batch_ms / 1e3,
        )


def serve(
    sources: Annotated[tuple[str, ...], "SOURCE"] = (),
    /,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    tracking: TrackingOptions,
    server: ServerOptions,
    requests: RequestOptions,
    joint_threshold: float = DRAWN_JOINT_SCORE,
    loop: bool = False,
) -> int:
    """Show cameras on a web page, and return the poses of images sent by HTTP, until Ctrl-C.

    The page (http://localhost:8080) shows the newest frame of each camera with the skeletons, the
    state of the cameras and their last hour. POST /poses takes an image file and returns the
    people as JSON; GET /metrics is for Prometheus, GET /healthz for supervisors, GET /openapi.json
    describes all. Without a source only those run.

    Args:
        sources: As for slimpose live: camera numbers, rtsp:// or http:// addresses, env:NAME,
            @FILE, and video files, which play in real time.
        models: Models and how they run.
        model_file: What the model file does not say itself.
        tracking: How people are tracked.
        server: Where the server listens.
        requests: Limits of requests.
        joint_threshold: Minimum score 0..1 of the keypoints that are drawn.
        loop: Start video files again at their end.
    """
    from slimpose.cli.serve_cameras import CameraLoop, score_threshold_of  # need the extra
    from slimpose.serve.app import Shared, make_app
    from slimpose.serve.server import Server, listen

    token = read_token(server.token, host=server.host)
    inputs = addresses.parse_all(sources)
    silence_opencv_logs(hide_urls=any(address.kind == "network" for address in inputs))
    cameras = CameraGroup(*inputs, realtime=True, loop=loop) if inputs else None
    model_file.remember(models.model)
    pipeline = models.load()
    follower = tracking.follower(pipeline, cameras=len(inputs)) if inputs else None
    workers = max(1, min(2, os.cpu_count() or 1))
    with PoseRequests(models.load, workers=workers, limits=requests.limits()) as queue:
        shared = Shared(
            skeleton=pipeline.estimator.session.info.skeleton,
            joint_threshold=joint_threshold,
            frames=NewestFrames(len(inputs)),
            history=History(len(inputs)),
            requests=queue,
            settings=Settings(
                score_threshold=score_threshold_of(pipeline),
                smooth=tracking.smooth,
                enabled=(True,) * len(inputs),
            ),
            areas=[[] for _ in inputs],
        )
        listener = listen(server.host, server.port)
        _print_address(server.host, listener.getsockname()[1], token=token)
        app = make_app(shared, token=token)
        with (
            stop_on_signals() as stop,
            Server(app, listener, finish_s=2 * requests.deadline_s) as web,
        ):
            if cameras is None or follower is None:
                _wait(shared, web, stop)
            else:
                CameraLoop(cameras, follower, pipeline, shared).run(web, stop)
            if not stop.is_set():
                raise RuntimeError(f"the web server ended: {web.problem}")
    return 0


def _print_address(host: str, port: int, *, token: str | None) -> None:
    console = plain_console(stderr=True)
    shown = "localhost" if is_loopback(host) or host in ("0.0.0.0", "::") else host
    console.print(f"slimpose: http://{shown}:{port}/ (Ctrl-C ends)")
    if token is not None:
        console.print(f"slimpose: the token is {token}; it is needed on every computer")


def _wait(shared: Shared, web: Server, stop: threading.Event) -> None:
    """Wait for the end of a server without cameras."""
    while web.is_running and not stop.wait(0.5):
        shared.alive_s = time.monotonic()
