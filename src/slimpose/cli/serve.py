"""``slimpose serve``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from slimpose.cli.console import plain_console
from slimpose.cli.model_file_options import DetectorFileOptions, ModelFileOptions
from slimpose.cli.options import ModelOptions, TrackingOptions
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.stop_signals import stop_on_signals
from slimpose.draw import DRAWN_JOINT_SCORE
from slimpose.events.run_events import event_settings, open_run_events
from slimpose.hide import What
from slimpose.media import addresses
from slimpose.media.camera_file import CameraSettings, read_cameras
from slimpose.media.frame import FrameRange
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.runtime.multi_camera import CameraGroup
from slimpose.serve.pose_requests import PoseRequests, RequestLimits
from slimpose.serve.tokens import is_loopback, read_token

_WORKERS = 2
"""Threads for requests: one decodes and detects while the other one waits for the pose model."""
_MOST = {"max_upload_mb": 1e4, "max_megapixels": 256, "max_queue": 1e5, "deadline_s": 86400}
"""The largest limits of requests; images of more pixels are never read."""


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
    max_megapixels: float = 25.0
    max_queue: int = 64
    deadline_s: float = 10.0
    batch_ms: float = 10.0

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 0 < getattr(self, name) <= most:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name):g}; expected a number "
                    f"over 0 and at most {most:g}"
                )
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
    detector_file: DetectorFileOptions,
    tracking: TrackingOptions,
    server: ServerOptions,
    requests: RequestOptions,
    cameras: Path | None = None,
    events: Path | None = None,
    overwrite: bool = False,
    keypoint_threshold: float = DRAWN_JOINT_SCORE,
    hide: What | None = None,
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
        detector_file: What the detector's file does not say itself.
        tracking: How people are tracked.
        server: Where the server listens.
        requests: Limits of requests.
        cameras: TOML file of cameras by name, with their zones and lines, and of where events are
            sent: an MQTT broker, webhooks (docs/events.md). Instead of SOURCE.
        events: File for the events as JSON lines.
        overwrite: Replace that file if it exists.
        keypoint_threshold: Minimum score 0..1 of the keypoints that are drawn.
        hide: Hide the faces, the heads or the whole people in the images of the page and in
            snapshots, each filled with one color; the detector runs on every frame.
        loop: Start video files again at their end.
    """
    from slimpose.cli.serve_cameras import CameraLoop, shared_state, wait_for_end
    from slimpose.serve.app import make_app
    from slimpose.serve.server import Server, listen

    if not 0 <= keypoint_threshold <= 1:
        raise ValueError(f"--keypoint-threshold is {keypoint_threshold:g}; expected a number 0..1")
    token = read_token(server.token, host=server.host)
    check_output_paths({"--events": events}, {}, [cameras], overwrite=overwrite)
    inputs = _inputs(sources, cameras, keypoint_threshold, models)
    sent = event_settings(inputs, camera_file=cameras, event_file=events, have_ids=tracking.track)
    places = [one.address for one in inputs]
    silence_opencv_logs(hide_urls=any(address.kind == "network" for address in places))
    ranges = [FrameRange(every=one.every or 1) for one in inputs]
    group = CameraGroup(*places, realtime=True, loop=loop, frames=ranges) if inputs else None
    model_file.remember(models.model)
    detector_file.remember(models.detector, is_used=True)
    pipeline = models.load()
    listener = listen(server.host, server.port)
    summary: list[str] = []
    with (
        PoseRequests(models.load, workers=_WORKERS, limits=requests.limits()) as queue,
        closing(open_run_events(inputs, sent)) as run_events,
        stop_on_signals() as stop,
    ):
        shared = shared_state(inputs, pipeline, tracking, queue, run_events)
        app = make_app(shared, token=token)
        with Server(app, listener, finish_s=2 * requests.deadline_s) as web:
            _print_address(server, listener.getsockname()[1], token=token)
            if group is None:
                wait_for_end(shared, web, stop)
            else:
                loop_of_cameras = CameraLoop(group, inputs, pipeline, tracking, shared, hide=hide)
                loop_of_cameras.run(web, stop)
                summary = loop_of_cameras.summary()
            if not stop.is_set():
                raise RuntimeError(f"the web server ended: {web.problem}")
    for line in summary:
        plain_console(stderr=False).print(line)
    return 0


def _print_address(server: ServerOptions, port: int, *, token: str | None) -> None:
    console, host = plain_console(stderr=True), server.host
    shown = "localhost" if is_loopback(host) or host in ("0.0.0.0", "::") else host
    console.print(f"slimpose: http://{shown}:{port}/ (Ctrl-C ends)")
    if token is not None and server.token is None:
        console.print(f"slimpose: the page asks for a token: {token}")


def _inputs(
    sources: Sequence[str], file: Path | None, keypoint_threshold: float, models: ModelOptions
) -> list[CameraSettings]:
    """Return the cameras of the command line or of a file, with the options where it says nothing.

    Raises:
        ValueError: If there are both, or one is invalid.
    """
    if file is not None and sources:
        raise ValueError(
            f"SOURCE is {addresses.redacted(sources[0])!r} and --cameras {file}; expected one"
        )
    cameras = (
        [CameraSettings(address=address) for address in addresses.parse_all(sources)]
        if file is None
        else read_cameras(file)
    )
    defaults = {
        "conf": models.conf,
        "max_people": models.max_people,
        "keypoint_threshold": keypoint_threshold,
        "every": 1,
    }
    return [
        dataclasses.replace(
            camera,
            **{name: value for name, value in defaults.items() if getattr(camera, name) is None},
        )
        for camera in cameras
    ]
