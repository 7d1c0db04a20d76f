"""``slimpose live``."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live

import slimpose
from slimpose.cli.live_stats import LiveStats, stage_table
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.outputs import STANDARD_OUTPUT, Found, OutputOptions, RecordWriters
from slimpose.cli.video_output import VideoOutputs, camera_video_path
from slimpose.formats.openpose import Order
from slimpose.media import addresses, capture
from slimpose.runtime.follower import Follower
from slimpose.runtime.multi_camera import CameraGroup, Seen, follow_cameras

_REFRESH_S = 0.5
_PLAIN_LINE_S = 60.0


def live(
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    /,
    out: Path | None = None,
    mosaic: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    jsonl: str | None = None,
    openpose: Path | None = None,
    openpose_order: Order = "BODY_25",
    model: str = "mnv2",
    detector: str = "detector",
    threads: int | None = None,
    backend: str = "onnxruntime",
    precision: str | None = None,
    score_threshold: float | None = None,
    detect_every: int = 8,
    track: bool = True,
    smooth: bool = True,
    realtime: bool = False,
    loop: bool = False,
    seconds: float | None = None,
    frames: int | None = None,
    profile: bool = False,
) -> int:
    """Watch cameras and streams, several at once, and follow everyone in them until Ctrl-C.

    Each source has a thread of its own that keeps its newest picture only: whoever is slow or dead
    holds nobody else, and one that is lost is opened again. All people of all cameras go through
    the network in one batch. Passwords in addresses are never shown nor written. While it runs,
    files are called NAME.partial.SUFFIX: whole up to the last record at any time. The exit code is
    2 if a source never gave a picture.

    Args:
        sources: Cameras' numbers (0), rtsp:// or http:// addresses, and video files (each of their
            frames is seen).
        out: Folder for a drawn film of each camera: camera-0.mp4, ..., in place of what is called
            so there.
        mosaic: File for a drawn film of all cameras side by side.
        json: File for the poses as COCO results: a list with one record a person.
        csv: File for the poses as CSV: one row a person a frame a joint.
        jsonl: File for the poses as JSON lines, one a frame; - is standard output.
        openpose: Folder for the poses as OpenPose's JSON, one file a frame.
        openpose_order: Its joints; the neck is the middle of the shoulders, the feet of BODY_25
            stay 0.
        model: A shipped pose model's name (slimpose models lists them), or a file of slimpose
            export.
        detector: The same for the person detector.
        threads: CPU threads for the networks; the backend's choice by default.
        backend: What computes the networks: onnxruntime, openvino, tensorrt or cuda; auto is the
            fastest here, by a short trial that is remembered.
        precision: What it computes in: bf16 or fp16 where slimpose doctor lists it, any lets
            --backend auto choose; by default the files' own.
        score_threshold: Least score 0..1 of a person's box; the detector's own by default.
        detect_every: The detector looks at least at every N-th frame of a camera.
        track: Whether people are numbered and followed.
        smooth: Whether the joints of people who are followed are smoothed.
        realtime: Whether video files are played by their clock as if they were cameras: frames may
            be dropped.
        loop: Whether video files start over at their end.
        seconds: Stop after so many.
        frames: Stop after so many frames of all cameras together.
        profile: Whether to tell the time of every stage at the end.
    """
    for option, bound in (("--seconds", seconds), ("--frames", frames)):
        if bound is not None and bound <= 0:
            raise ValueError(f"{option} is {bound:g}; expected a number over 0")
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"--score-threshold is {score_threshold:g}; expected a number 0..1")
    watched = [addresses.parse(source) for source in sources]
    capture.silence_opencv_logs(hide_urls=any(address.kind == "network" for address in watched))
    cameras = CameraGroup(watched, realtime=realtime, loop=loop)
    targets = OutputOptions(
        json=json, csv=csv, jsonl=jsonl, openpose=openpose, openpose_order=openpose_order
    )
    films = (
        {
            f"--out (camera {number})": camera_video_path(out, number)
            for number in range(len(watched))
        }
        if out
        else {}
    )
    check_output_paths(
        {**targets.files(), **({"--mosaic": mosaic} if mosaic is not None else {}), **films},
        {**({"--out": out} if out is not None else {}), **targets.folders()},
        [Path(address.target) for address in watched if address.kind == "file"],
    )
    pipeline = slimpose.load(
        model, detector, threads, score_threshold, backend=backend, precision=precision
    )
    follower = Follower(
        pipeline, cameras=len(cameras), detect_every=detect_every, track=track, smooth=smooth
    )
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    is_clocked = realtime or any(address.kind != "file" for address in watched)
    films = VideoOutputs(
        out, mosaic, names=[address.name for address in watched], is_clocked=is_clocked, ids=track
    )
    meter = LiveStats(len(watched))
    records = RecordWriters(targets)
    try:
        run = _Run(records=records, films=films, meter=meter)
        with _stopping() as stop, cameras:
            run.go(cameras, follower, console, stop, seconds=seconds, frames=frames)
        films.finish()
        records.finish()
    finally:
        films.close()
        records.close()
    report = Console(stderr=jsonl == STANDARD_OUTPUT, soft_wrap=True, highlight=False, markup=False)
    for line in meter.summary(cameras.statuses(), detections=follower.detections):
        report.print(line)
    places = [*films.places, *records.places]
    if places:
        report.print(f"written: {', '.join(places)}")
    if profile:
        report.print(stage_table(meter.stages, meter.seconds))
        report.print(meter.as_dict(cameras.statuses()))
    code = 2 if any(status.received == 0 for status in cameras.statuses()) else 0
    _leave_without_readers(cameras, code)
    return code


class _Run:
    """The loop of a run."""

    def __init__(self, *, records: RecordWriters, films: VideoOutputs, meter: LiveStats) -> None:
        self._records, self._films, self._meter = records, films, meter

    def go(
        self,
        cameras: CameraGroup,
        follower: Follower,
        console: Console,
        stop: threading.Event,
        *,
        seconds: float | None,
        frames: int | None,
    ) -> None:
        """Watch until all sources have ended, a bound is reached, or ``stop`` is set."""
        meter = self._meter
        started_s = shown_s = time.monotonic()
        waited_s = time.perf_counter()
        show = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        if show is not None:
            show.start()
        try:
            for batch in follow_cameras(cameras, follower):
                steps_ms = sum(follower.last_ms.values()) if batch else 0.0
                meter.stages.add(
                    "wait for pictures", max(0.0, 1e3 * (time.perf_counter() - waited_s) - steps_ms)
                )
                if batch:
                    meter.count(batch, follower.last_ms.items())
                self._write(batch, cameras)
                for notice in cameras.notices():
                    console.print(f"slimpose: [{notice.camera}] {notice.name}: {notice.words}")
                now_s = time.monotonic()
                if now_s - shown_s >= (_REFRESH_S if show is not None else _PLAIN_LINE_S):
                    shown_s = now_s
                    if show is not None:
                        show.update(meter.table(cameras.statuses()), refresh=True)
                    else:
                        console.print(f"slimpose: {meter.line(cameras.statuses())}")
                waited_s = time.perf_counter()
                is_over = seconds is not None and now_s - started_s >= seconds
                if stop.is_set() or is_over or (frames is not None and meter.frames >= frames):
                    break
        finally:
            if show is not None:
                show.stop()
            for notice in cameras.notices():
                console.print(f"slimpose: [{notice.camera}] {notice.name}: {notice.words}")

    def _write(self, batch: list[Seen], cameras: CameraGroup) -> None:
        with self._meter.stages.timed("write"):
            for seen in batch:
                self._records.write(
                    Found(
                        source=seen.name,
                        stem=f"camera-{seen.camera}",
                        camera=seen.camera,
                        frame=seen.frame,
                        timestamp_s=seen.timestamp_s,
                        poses=seen.poses,
                    )
                )
        self._records.check_readers()
        with self._meter.stages.timed("draw and film"):
            self._films.write(batch, cameras.statuses())


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or SIGTERM sets, so that no record is cut in two; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_without_readers(cameras: CameraGroup, code: int) -> None:
    """A reader that hangs in OpenCV cannot be ended, and would be torn down in its midst: leave the process hard."""

    def leave() -> None:
        if not cameras.close(timeout_s=0.0):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    if not cameras.close(timeout_s=0.0):
        atexit.register(leave)
