"""``slimpose live``."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

from slimpose.cli.console import plain_console
from slimpose.cli.drawing import PoseDrawing
from slimpose.cli.live_display import LiveDisplay
from slimpose.cli.live_stats import LiveStats, stage_table
from slimpose.cli.model_file_options import DetectorFileOptions, ModelFileOptions
from slimpose.cli.options import (
    STANDARD_OUTPUT,
    DrawingOptions,
    FrameOptions,
    ModelOptions,
    OutputOptions,
    StreamOptions,
    TrackingOptions,
    tile_note,
)
from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.cli.outputs import RecordWriters
from slimpose.cli.stop_signals import stop_on_signals
from slimpose.cli.video_output import VideoOutputs
from slimpose.cli.window import Window
from slimpose.events.run_events import RunEvents, event_settings, open_run_events
from slimpose.media import addresses
from slimpose.media.addresses import Address
from slimpose.media.camera_file import CameraSettings, read_cameras
from slimpose.media.stream_reader import clock_s
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.runtime.follower import Follower
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras
from slimpose.runtime.people_limits import PeopleLimits


def live(
    sources: Annotated[tuple[str, ...], "SOURCE"] = (),
    /,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    detector_file: DetectorFileOptions,
    tracking: TrackingOptions,
    selected: FrameOptions,
    outputs: OutputOptions,
    style: DrawingOptions,
    streams: StreamOptions,
    out: Path | None = None,
    profile: bool = False,
) -> int:
    """Track people in several cameras and streams at once, until Ctrl-C.

    Each source has its own thread that keeps only its newest frame: a slow or dead source does not
    delay the others, and a lost one is reopened. The people of all cameras go through the pose
    model in one batch. Passwords in addresses are never printed or written. During the run files
    are named NAME.partial.SUFFIX; they are complete up to the last record at any time. The exit
    code is 2 if a source never gave a frame.

    Args:
        sources: Camera numbers (0), rtsp:// or http:// addresses, and video files (every frame is
            processed). env:NAME is the address in an environment variable, @FILE stands for those
            in a text file, one a line: other users see the command line, with its passwords.
        models: Models and how they run.
        model_file: What the model file does not say itself.
        detector_file: The same for the detector.
        tracking: How people are tracked.
        selected: Which frames are processed; --from and --to are for video files.
        outputs: Text outputs.
        style: How poses are drawn.
        streams: Cameras and when the run ends.
        out: Folder for a drawn video of each camera: camera-0.mp4, ..., or NAME.mp4 of the name in
            the file of cameras; where such a file exists, a number is added.
        profile: Print the time of every stage at the end.
    """
    settings = _settings(sources, streams.cameras)
    inputs = [camera.address for camera in settings]
    mosaic = streams.mosaic
    drawing = PoseDrawing(
        style,
        is_used=out is not None or mosaic is not None or style.show,
        keypoint_thresholds={
            number: camera.keypoint_threshold
            for number, camera in enumerate(settings)
            if camera.keypoint_threshold is not None
        },
    )
    if (selected.start or selected.end) and all(address.kind != "file" for address in inputs):
        raise ValueError("--from and --to are about video files; expected one among the sources")
    silence_opencv_logs(hide_urls=any(address.kind == "network" for address in inputs))
    cameras = CameraGroup(
        *inputs,
        realtime=streams.realtime,
        loop=streams.loop,
        frames=[
            dataclasses.replace(selected.range, every=camera.every or selected.every)
            for camera in settings
        ],
    )
    _check_outputs(inputs, cameras.stems, outputs, out=out, streams=streams)
    sent = event_settings(
        settings,
        camera_file=streams.cameras,
        event_file=streams.events,
        have_ids=tracking.track,
    )
    model_file.remember(models.model)
    detector_file.remember(models.detector, is_used=True)
    pipeline = models.load()
    outputs.check_skeleton(pipeline.estimator.session.info.skeleton)
    limits = [
        PeopleLimits(conf=camera.conf, max_people=camera.max_people or models.max_people)
        for camera in settings
    ]
    follower = tracking.follower(
        pipeline,
        cameras=len(cameras),
        limits=limits,
        find_everyone=drawing.hider is not None,
    )
    by_clock = [streams.realtime or address.kind != "file" for address in inputs]
    videos = VideoOutputs(
        out,
        mosaic,
        names=[address.name for address in inputs],
        stems=cameras.stems,
        overwrite=outputs.overwrite,
        use_clock=any(by_clock),
        drawing=drawing,
        window=Window("slimpose") if style.show else None,
    )
    stats = LiveStats(len(inputs))
    records = RecordWriters(outputs, cameras.stems)
    events = open_run_events(settings, sent, by_clock=by_clock)
    try:
        with closing(events), stop_on_signals() as stop, cameras:
            _follow(cameras, follower, stats, records, videos, events, stop, streams)
        videos.finish()
        records.finish()
    finally:
        videos.close()
        records.close()
    statuses = cameras.statuses()
    console = plain_console(stderr=outputs.jsonl == STANDARD_OUTPUT)
    for line in [*stats.summary(statuses, detections=follower.detections), *events.summary()]:
        console.print(line)
    for line in filter(
        None, [tile_note(pipeline), *drawing.notes(), *videos.notes(), *records.notes()]
    ):
        console.print(line)
    event_file = [str(streams.events)] if streams.events is not None else []
    if paths := [*videos.paths, *records.paths, *event_file]:
        console.print(f"written: {', '.join(paths)}")
    if profile:
        console.print(stage_table(stats.stages, stats.seconds))
        console.print(stats.decode_line(statuses))
    return 2 if any(status.received == 0 for status in statuses) else 0


def _settings(sources: Sequence[str], camera_file: Path | None) -> list[CameraSettings]:
    """The cameras of the command line and of the file, in this order."""
    settings = [CameraSettings(address=address) for address in addresses.parse_all(sources)]
    settings += [] if camera_file is None else read_cameras(camera_file)
    if not settings:
        raise ValueError("missing SOURCE ..., or --cameras PATH; slimpose live --help lists all")
    return settings


def _check_outputs(
    inputs: Sequence[Address],
    stems: Sequence[str],
    outputs: OutputOptions,
    *,
    out: Path | None,
    streams: StreamOptions,
) -> None:
    replaced = out if outputs.overwrite else None
    videos = {
        f"--out (camera {number})": replaced and replaced / f"{stem}.mp4"
        for number, stem in enumerate(stems)
    }
    check_output_paths(
        {
            **outputs.files(),
            "--mosaic": streams.mosaic,
            "--events": streams.events,
            **videos,
        },
        {"--out": out, **outputs.folders()},
        [
            streams.cameras,
            *(Path(address.target) for address in inputs if address.kind == "file"),
        ],
        overwrite=outputs.overwrite,
    )
    check_suffix("--mosaic", streams.mosaic, ".mp4")


def _follow(
    cameras: CameraGroup,
    follower: Follower,
    stats: LiveStats,
    records: RecordWriters,
    videos: VideoOutputs,
    events: RunEvents,
    stop: threading.Event,
    streams: StreamOptions,
) -> None:
    """Track and write until all sources have ended, a limit is reached, or ``stop`` is set."""
    seconds, frames = streams.seconds, streams.frames
    started_s = time.monotonic()
    waiting_since_s = time.perf_counter()
    with LiveDisplay(cameras, stats) as display:
        for batch in follow_cameras(cameras, follower, hider=videos.hider):
            step_ms = sum(follower.last_ms.values()) if batch else 0.0
            waited_ms = 1e3 * (time.perf_counter() - waiting_since_s) - step_ms
            stats.stages.add("wait for frames", max(0.0, waited_ms))
            if batch:
                stats.add(batch, follower.last_ms)
            with stats.stages.timed("write"):
                for result in batch:
                    records.write(result)
            records.check_readers()
            statuses = cameras.statuses()
            events.add(batch)
            events.update(
                is_live=[status.state == "live" for status in statuses],
                people=[stats.people_now(number, status) for number, status in enumerate(statuses)],
                time_s=clock_s(),
            )
            with stats.stages.timed("draw videos"):
                videos.write(batch, statuses)
            display.update()
            waiting_since_s = time.perf_counter()
            is_time_over = seconds is not None and time.monotonic() - started_s >= seconds
            if (
                stop.is_set()
                or videos.is_window_closed
                or is_time_over
                or (frames is not None and stats.frames >= frames)
            ):
                break
