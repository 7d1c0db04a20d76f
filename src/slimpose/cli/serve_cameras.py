"""The cameras of ``serve``: processed as by ``live``, shown by the server."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence

from slimpose.cli.live_display import LiveDisplay
from slimpose.cli.live_stats import LiveStats
from slimpose.cli.options import TrackingOptions
from slimpose.events.run_events import RunEvents
from slimpose.hide import Hider, What
from slimpose.media.camera_file import CameraSettings
from slimpose.media.stream import StreamStatus
from slimpose.media.stream_reader import clock_s
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.people_limits import PeopleLimits
from slimpose.runtime.pipeline import Pipeline
from slimpose.serve.app import Shared, describe_area
from slimpose.serve.frames import NewestFrames
from slimpose.serve.pose_requests import PoseRequests
from slimpose.serve.server import Server
from slimpose.serve.state import CameraState, History, Settings

_STATE_S = 0.5


def score_threshold_of(pipeline: Pipeline) -> float:
    """Return the minimum score 0..1 of a person box."""
    if isinstance(pipeline.estimator, OneStageEstimator):
        return pipeline.estimator.score_threshold
    assert pipeline.detector is not None
    return pipeline.detector.score_threshold


def wait_for_end(shared: Shared, web: Server, stop: threading.Event) -> None:
    """Wait for the end of a server without cameras."""
    while web.is_running and not stop.wait(_STATE_S):
        shared.alive_s = time.monotonic()


def shared_state(
    inputs: Sequence[CameraSettings],
    pipeline: Pipeline,
    tracking: TrackingOptions,
    requests: PoseRequests,
    events: RunEvents,
) -> Shared:
    """Return what the server shows before the first frame."""
    return Shared(
        cameras=[_not_opened(one) for one in inputs],
        skeleton=pipeline.estimator.session.info.skeleton,
        keypoint_thresholds=[one.keypoint_threshold or 0.0 for one in inputs],
        frames=NewestFrames(len(inputs)),
        history=History(len(inputs)),
        requests=requests,
        settings=Settings(
            score_threshold=score_threshold_of(pipeline),
            smooth=tracking.smooth,
            enabled=(True,) * len(inputs),
        ),
        areas=[[describe_area(area) for area in one.areas] for one in inputs],
        events=events,
    )


def _not_opened(camera: CameraSettings) -> CameraState:
    """Return the state of a camera before anything is known of it."""
    return CameraState(
        name=camera.address.name,
        state="connecting",
        problem="",
        fps=0.0,
        people=0,
        latency_p50_ms=0.0,
        latency_p95_ms=0.0,
        frames=0,
        dropped=0,
        damaged=0,
        connections=0,
    )


class CameraLoop:
    """Processes cameras and publishes their frames and their state.

    Args:
        cameras: The cameras.
        inputs: The settings of each.
        pipeline: The models.
        tracking: How people are tracked.
        shared: Where frames and state are published, and settings come from.
        hide: What of people is hidden before any image is shown; None for nothing.
    """

    def __init__(
        self,
        cameras: CameraGroup,
        inputs: Sequence[CameraSettings],
        pipeline: Pipeline,
        tracking: TrackingOptions,
        shared: Shared,
        *,
        hide: What | None,
    ) -> None:
        self._cameras = cameras
        self._hider = None if hide is None else Hider(hide)
        self._follower = tracking.follower(
            pipeline, cameras=len(cameras), find_everyone=hide is not None
        )
        self._follower.limits = [
            PeopleLimits(conf=one.conf, max_people=one.max_people) for one in inputs
        ]
        self._shared, self._settings = shared, shared.settings
        self._stats = LiveStats(len(cameras))
        self._published_s = 0.0

    def run(self, web: Server, stop: threading.Event) -> None:
        """Process the cameras until ``stop`` is set; the server goes on when all have ended."""
        with self._cameras, LiveDisplay(self._cameras, self._stats) as display:
            batches = follow_cameras(
                self._cameras, self._follower, is_used=self._is_enabled, hider=self._hider
            )
            for batch in batches:
                if batch:
                    self._stats.add(batch, self._follower.last_ms)
                    self._shared.history.add(batch)
                    self._shared.events.add(batch)
                    self._shared.frames.publish(batch)
                self._apply_settings()
                self._publish_state()
                display.update()
                if stop.is_set() or not web.is_running:
                    return
            while web.is_running and not stop.wait(_STATE_S):
                self._apply_settings()
                self._publish_state()

    def summary(self) -> list[str]:
        """Return the lines of the final summary."""
        lines = self._stats.summary(self._cameras.statuses(), detections=self._follower.detections)
        lines += self._shared.events.summary()
        return lines if self._hider is None else [*lines, self._hider.summary()]

    def _is_enabled(self, camera: int) -> bool:
        return self._settings.enabled[camera]

    def _apply_settings(self) -> None:
        """Apply what viewers have changed since the last call."""
        settings = self._shared.settings
        if settings is self._settings:
            return
        for camera, (is_on, was_on) in enumerate(
            zip(settings.enabled, self._settings.enabled, strict=True)
        ):
            if was_on and not is_on:
                self._shared.frames.forget(camera)
            elif is_on and not was_on:
                self._follower.forget(camera)
        if settings.score_threshold != self._settings.score_threshold:
            self._follower.limits = [
                dataclasses.replace(limits, conf=settings.score_threshold)
                for limits in self._follower.limits
            ]
        if settings.smooth != self._settings.smooth:
            self._follower.set_smooth(settings.smooth)
        self._settings = settings

    def _publish_state(self) -> None:
        self._shared.alive_s = now_s = time.monotonic()
        if now_s - self._published_s < _STATE_S:
            return
        self._published_s = now_s
        self._shared.cameras = states = [
            self._camera_state(camera, status)
            for camera, status in enumerate(self._cameras.statuses())
        ]
        self._shared.events.update(
            is_live=[state.state == "live" for state in states],
            people=[state.people for state in states],
            time_s=clock_s(),
        )

    def _camera_state(self, camera: int, status: StreamStatus) -> CameraState:
        is_on, stats = self._is_enabled(camera), self._stats
        return CameraState(
            name=status.name,
            state=status.state if is_on else "off",
            problem=status.problem if is_on else "",
            fps=round(stats.fps(camera), 1),
            people=stats.people(camera) if is_on and status.state == "live" else 0,
            latency_p50_ms=round(stats.latency(camera).percentile(50), 1),
            latency_p95_ms=round(stats.latency(camera).percentile(95), 1),
            frames=stats.frames_of(camera),
            dropped=status.dropped,
            damaged=status.damaged,
            connections=status.connections,
        )
