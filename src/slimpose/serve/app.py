"""The paths of the server: the page and its data, poses of images, metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from slimpose.areas import Area, Zone
from slimpose.events.run_events import RunEvents
from slimpose.formats.results import people_as_json
from slimpose.serve.access import COOKIE, Access
from slimpose.serve.frames import NewestFrames, snapshot
from slimpose.serve.metrics import CONTENT_TYPE, exposition
from slimpose.serve.pose_requests import PoseRequests, RejectedError
from slimpose.serve.state import CameraState, History, Settings
from slimpose.serve.viewers import Viewer
from slimpose.skeleton import Skeleton

PAGE = Path(__file__).with_name("page")
_MOST_VIEWERS = 64
_SMALL_BODY = 10_000
_STALLED_S = 30.0


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the thread that processes cameras and the thread of the server share.

    Fields are replaced as a whole, never changed in place.

    Attributes:
        skeleton: Of the pose model.
        keypoint_thresholds: Of each camera: keypoints that score less are not drawn.
        frames: The newest frames.
        history: Of the last hour.
        requests: The queue of uploaded images.
        areas: The zones and lines of each camera, for drawing.
        settings: What viewers may change.
        events: Of the cameras.
        cameras: The newest state of the cameras.
        alive_s: When the thread that processes cameras was last alive, on the monotonic clock.
        viewers: Number of viewers.
    """

    skeleton: Skeleton
    keypoint_thresholds: Sequence[float]
    frames: NewestFrames
    history: History
    requests: PoseRequests
    settings: Settings
    areas: Sequence[Sequence[Mapping[str, Any]]]
    events: RunEvents
    cameras: Sequence[CameraState] = ()
    alive_s: float = dataclasses.field(default_factory=time.monotonic)
    viewers: int = 0

    def state(self) -> dict[str, Any]:
        """Return the state of the cameras and the settings as JSON."""
        return {
            "cameras": [dataclasses.asdict(camera) for camera in self.cameras],
            "counts": [self.events.counts(camera) for camera in range(len(self.cameras))],
            "postures": [self.events.postures(camera) for camera in range(len(self.cameras))],
            "settings": dataclasses.asdict(self.settings),
            "events": self.events.recent(),
        }

    def hello(self) -> dict[str, Any]:
        """Return what a page needs to know before the first frame."""
        return {
            "joints": self.skeleton.joints,
            "limbs": self.skeleton.limb_indices,
            "sides": [side or "" for side in self.skeleton.mirror.sides],
            "keypoint_thresholds": self.keypoint_thresholds,
            "areas": self.areas,
            **self.state(),
        }


def describe_area(area: Area) -> dict[str, Any]:
    """Return a zone or line as JSON, for drawing."""
    if isinstance(area, Zone):
        return {"kind": "zone", "name": area.name, "points": area.points}
    return {"kind": "line", "name": area.name, "points": [area.start, area.end]}


def make_app(shared: Shared, *, token: str | None) -> Access:
    """Return the ASGI application."""
    paths = _Paths(shared, token=token)
    app = Starlette(
        routes=[
            Route("/", paths.page),
            Route("/login", paths.login, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
            WebSocketRoute("/api/live", paths.live),
            Route("/api/state", paths.state),
            Route("/api/history", paths.history),
            Route("/api/settings", paths.change_settings, methods=["PATCH"]),
            Route("/api/cameras/{camera:int}/snapshot.jpg", paths.snapshot),
            Route("/poses", paths.poses, methods=["POST"]),
            Route("/metrics", paths.metrics),
            Route("/healthz", paths.health),
            Route("/openapi.json", paths.openapi),
        ]
    )
    paths.access = Access(app, token=token)
    return paths.access


class _Paths:
    """The functions behind the paths."""

    access: Access

    def __init__(self, shared: Shared, *, token: str | None) -> None:
        self._shared, self._token = shared, token

    async def page(self, request: Request) -> Response:
        is_let_in = self.access.is_let_in(request.headers)
        return FileResponse(
            PAGE / ("index.html" if is_let_in else "login.html"), 200 if is_let_in else 401
        )

    async def login(self, request: Request) -> Response:
        try:
            document = json.loads(await _read_body(request, _SMALL_BODY))
            token = str(document["token"])
        except (ValueError, KeyError, TypeError, RejectedError):
            return _error(400, 'expected JSON such as {"token": "..."}')
        if not self.access.accepts(token):
            await asyncio.sleep(0.5)  # slows guessing; other requests go on
            return _error(401, "the token is wrong")
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return response

    async def live(self, socket: WebSocket) -> None:
        shared = self._shared
        if shared.viewers >= _MOST_VIEWERS:
            await socket.close(1013)
            return
        shared.viewers += 1
        try:
            await Viewer(socket, shared.frames, hello=shared.hello, state=shared.state).run()
        finally:
            shared.viewers -= 1

    async def state(self, _: Request) -> Response:
        return JSONResponse(self._shared.state())

    async def history(self, _: Request) -> Response:
        return JSONResponse(self._shared.history.document())

    async def change_settings(self, request: Request) -> Response:
        try:
            values = json.loads(await _read_body(request, _SMALL_BODY))
            self._shared.settings = self._shared.settings.changed(values)
        except RejectedError as error:
            return _error(error.status, error.reason)
        except (ValueError, RecursionError) as error:
            return _error(400, str(error))
        return JSONResponse(dataclasses.asdict(self._shared.settings))

    async def snapshot(self, request: Request) -> Response:
        camera, frames = request.path_params["camera"], self._shared.frames
        result = frames.result(camera) if camera < len(frames) else None
        if result is None:
            return _error(404, f"camera {camera} has no frame")
        is_drawn = request.query_params.get("poses", "1") != "0"
        jpeg = await asyncio.to_thread(
            snapshot,
            result,
            is_drawn=is_drawn,
            keypoint_threshold=self._shared.keypoint_thresholds[camera],
        )
        name = f"camera-{camera}-frame-{result.frame_index}.jpg"
        return Response(
            jpeg,
            media_type="image/jpeg",
            headers={"content-disposition": f'inline; filename="{name}"'},
        )

    async def poses(self, request: Request) -> Response:
        requests, started_s = self._shared.requests, time.monotonic()
        limit = requests.limits.max_upload_bytes
        try:
            poses, size = await requests.poses(
                lambda: asyncio.ensure_future(_read_body(request, limit))
            )
            document = {
                "height": size.height,
                "width": size.width,
                "joints": poses.skeleton.joints,
                "people": people_as_json(poses),
            }
            response: Response = JSONResponse(document)
        except RejectedError as error:
            response = _error(error.status, error.reason)
            if error.status in (429, 503, 504):
                response.headers["retry-after"] = "1"
            if error.status in (408, 413):  # the rest of the body is not read
                response.headers["connection"] = "close"
        except ClientDisconnect:
            response = _error(400, "the client has gone")
        requests.counts.add(response.status_code, time.monotonic() - started_s)
        return response

    async def metrics(self, _: Request) -> Response:
        shared = self._shared
        text = exposition(
            shared.cameras,
            shared.requests.counts,
            open_requests=shared.requests.open,
            viewers=shared.viewers,
            events=shared.events,
        )
        return PlainTextResponse(text, headers={"content-type": CONTENT_TYPE})

    async def health(self, _: Request) -> Response:
        silent_s = time.monotonic() - self._shared.alive_s
        if silent_s > _STALLED_S:
            return _error(503, f"no camera was processed for {silent_s:.0f} s")
        return JSONResponse({"status": "ok"})

    async def openapi(self, _: Request) -> Response:
        return FileResponse(PAGE.with_name("openapi.json"), media_type="application/json")


def _error(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)


async def _read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        RejectedError: With 413 if it is larger than the limit.
    """
    reason = f"the body is too large; expected at most {limit / 1e6:g} MB"
    try:
        stated = int(request.headers.get("content-length", "0"))
    except ValueError:
        stated = 0
    if stated > limit:
        raise RejectedError(413, reason)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise RejectedError(413, reason)
    return bytes(data)
