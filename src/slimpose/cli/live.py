"""``slimpose live``."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from slimpose.cli.console import plain_console
from slimpose.cli.drawing import PoseDrawing
from slimpose.cli.live_display import LiveDisplay
from slimpose.cli.live_stats import LiveStats, stage_table
from slimpose.cli.options import (
    STANDARD_OUTPUT,
    DrawingOptions,
    FrameOptions,
    ModelFileOptions,
    ModelOptions,
    OutputOptions,
    TrackingOptions,
)
from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.cli.outputs import RecordWriters
from slimpose.cli.stop_signals import stop_on_signals
from slimpose.cli.video_output import VideoOutputs, camera_video_path
from slimpose.media import addresses
from slimpose.media.addresses import Address
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.runtime.follower import Follower
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras


def live(
    sources: Annotated[tuple[str, ...], "SOURCE"],
    /,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    tracking: TrackingOptions,
    selected: FrameOptions,
    outputs: OutputOptions,
    style: DrawingOptions,
    out: Path | None = None,
    mosaic: Path | None = None,
    realtime: bool = False,
    loop: bool = False,
    seconds: float | None = None,
    frames: int | None = None,
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
        tracking: How people are tracked.
        selected: Which frames are processed; --from and --to are for video files.
        outputs: Text outputs.
        style: How poses are drawn.
        out: Folder for a drawn video of each camera: camera-0.mp4, ...; replaces files of these
            names.
        mosaic: MP4 file for a drawn video of all cameras side by side.
        realtime: Play video files in real time, like cameras: frames may be dropped.
        loop: Start video files again at their end.
        seconds: Stop after this many seconds.
        frames: Stop after this many frames of all cameras together.
        profile: Print the time of every stage at the end.
    """
    for option, bound in (("--seconds", seconds), ("--frames", frames)):
        if bound is not None and not bound > 0:
            raise ValueError(f"{option} is {bound:g}; expected a number over 0")
    drawing = PoseDrawing(style, is_used=out is not None or mosaic is not None)
    inputs = addresses.parse_all(sources)
    if (selected.start or selected.end) and all(address.kind != "file" for address in inputs):
        raise ValueError("--from and --to are about video files; expected one among the sources")
    silence_opencv_logs(hide_urls=any(address.kind == "network" for address in inputs))
    cameras = CameraGroup(*inputs, realtime=realtime, loop=loop, frames=selected.range)
    _check_outputs(inputs, outputs, out=out, mosaic=mosaic)
    model_file.remember(models.model)
    pipeline = models.load()
    outputs.check_skeleton(pipeline.estimator.session.info.skeleton)
    follower = tracking.follower(
        pipeline, cameras=len(cameras), find_everyone=drawing.hider is not None
    )
    videos = VideoOutputs(
        out,
        mosaic,
        names=[address.name for address in inputs],
        use_clock=realtime or any(address.kind != "file" for address in inputs),
        drawing=drawing,
    )
    stats = LiveStats(len(inputs))
    records = RecordWriters(outputs)
    try:
        with stop_on_signals() as stop, cameras:
            _follow(cameras, follower, stats, records, videos, stop, seconds=seconds, frames=frames)
        videos.finish()
        records.finish()
    finally:
        videos.close()
        records.close()
    statuses = cameras.statuses()
    console = plain_console(stderr=outputs.jsonl == STANDARD_OUTPUT)
    for line in stats.summary(statuses, detections=follower.detections):
        console.print(line)
    for line in [*drawing.notes(), *videos.notes()]:
        console.print(line)
    if paths := [*videos.paths, *records.paths]:
        console.print(f"written: {', '.join(paths)}")
    if profile:
        console.print(stage_table(stats.stages, stats.seconds))
        console.print(stats.decode_line(statuses))
    return 2 if any(status.received == 0 for status in statuses) else 0


def _check_outputs(
    inputs: Sequence[Address], outputs: OutputOptions, *, out: Path | None, mosaic: Path | None
) -> None:
    videos = {
        f"--out (camera {number})": camera_video_path(out, number) if out is not None else None
        for number in range(len(inputs))
    }
    check_output_paths(
        {**outputs.files(), "--mosaic": mosaic, **videos},
        {"--out": out, **outputs.folders()},
        [Path(address.target) for address in inputs if address.kind == "file"],
    )
    check_suffix("--mosaic", mosaic, ".mp4")


def _follow(
    cameras: CameraGroup,
    follower: Follower,
    stats: LiveStats,
    records: RecordWriters,
    videos: VideoOutputs,
    stop: threading.Event,
    *,
    seconds: float | None,
    frames: int | None,
) -> None:
    """Track and write until all sources have ended, a limit is reached, or ``stop`` is set."""
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
            with stats.stages.timed("draw videos"):
                videos.write(batch, cameras.statuses())
            display.update()
            waiting_since_s = time.perf_counter()
            is_time_over = seconds is not None and time.monotonic() - started_s >= seconds
            if stop.is_set() or is_time_over or (frames is not None and stats.frames >= frames):
                break
