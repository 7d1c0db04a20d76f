"""``slimpose bulk``."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from rich.console import Console

from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.options import FrameOptions, ModelOptions, TrackingOptions
from slimpose.messages import printable
from slimpose.runtime import models as model_files

if TYPE_CHECKING:
    from slimpose.bulk.inputs import BulkInput
    from slimpose.bulk.units import Outcome

_LINE_S = 10.0
"""Time between lines of progress where standard error is not a terminal."""
_MAX_WORKERS, _MAX_GPUS = 100_000, 100
_SHOWN_FAILURES = 20


def bulk(
    source: Annotated[str, "SOURCE"],
    /,
    *,
    out: str,
    models: ModelOptions,
    tracking: TrackingOptions,
    selected: FrameOptions,
    fps: float | None = None,
    piece: float = 300.0,
    overlap: float | None = None,
    workers: int | None = None,
    gpus: float = 0.0,
    address: str | None = None,
    overwrite: bool = False,
) -> int:
    """Find all people in an archive of images and videos, on many workers; write Parquet files.

    The poses and ids are those of slimpose predict. What is done is in the output folder: a run
    that was stopped goes on when it is started again, and a later run processes only files that are
    new or have changed. Inputs that cannot be read are listed at the end and in failed.csv, and
    tried again by the next run; the exit code is then 2.

    Args:
        source: A folder, with its subfolders; a text file with a path or address per line; or an
            address such as s3://bucket/folder.
        out: Folder for the results, or its address.
        models: Models and how they run.
        tracking: How people in videos are tracked.
        selected: Which frames of videos are processed.
        fps: Process about this many frames per second of each video, instead of --every.
        piece: Seconds of video per Parquet file. A stopped run goes on after the last one.
        overlap: Process the pieces of a video at once, each from this many seconds before its
            start, and join the ids by the poses there. Faster where there are fewer videos than
            workers, but the poses differ a little from those of predict.
        workers: Number of workers; by default one per CPU, or per --threads of them.
        gpus: GPUs per worker; a part such as 0.5 shares one.
        address: Address of a Ray cluster, such as ray-head:6379 or auto; slimpose must be installed
            on its nodes, and all must reach the inputs and the output folder.
        overwrite: Replace the results in the output folder where they are those of other options.
    """
    from slimpose.bulk.engine import RayEngine
    from slimpose.bulk.inputs import find_inputs
    from slimpose.bulk.run import BulkRun
    from slimpose.bulk.settings import BulkSettings

    if workers is not None and not 1 <= workers <= _MAX_WORKERS:
        raise ValueError(f"--workers is {workers}; expected 1..{_MAX_WORKERS}")
    if not 0 <= gpus <= _MAX_GPUS:
        raise ValueError(f"--gpus is {gpus:g}; expected 0..{_MAX_GPUS} per worker")
    threads = models.threads or 1
    settings = BulkSettings(
        model=_for_workers(models.model),
        detector=_for_workers(models.detector),
        threads=threads,
        conf=models.conf,
        max_people=models.max_people,
        tiles=models.tiles,
        backend=models.backend,
        precision=models.precision,
        detect_every=tracking.detect_every,
        track=tracking.track,
        smooth=tracking.smooth,
        every=selected.every,
        fps=fps,
        start_s=selected.range.start_s,
        end_s=selected.range.end_s,
        piece_s=piece,
        overlap_s=overlap,
    )
    inputs = find_inputs(source)
    count = workers or max(1, (os.cpu_count() or 1) // threads)
    run = BulkRun(
        inputs,
        settings,
        out,
        RayEngine(workers=count, threads=threads, gpus=gpus, address=address),
        overwrite=overwrite,
    )
    console = plain_console(stderr=False)
    missing = run.prepare()
    if len(missing) < len(inputs):
        done = len(inputs) - len(missing) - sum(bool(one.error) for one in inputs)
        console.print(f"{done} of {len(inputs)} inputs are done already")
    progress = _Progress(plain_console(stderr=True), missing)
    run.report = progress.add
    try:
        run.process(missing)
    except KeyboardInterrupt:
        console.print("slimpose: what was written so far is kept; the same command goes on")
        raise
    console.print(progress.summary(count))
    console.print(f"written: {out} (poses/, ledger.parquet, failed.csv)")
    if not run.failed:
        return 0
    console.print(f"slimpose: {len(run.failed)} of {len(inputs)} inputs failed:")
    for outcome in run.failed[:_SHOWN_FAILURES]:
        console.print(f"  {printable(outcome.source)}: {printable(outcome.reason)}")
    if len(run.failed) > _SHOWN_FAILURES:
        console.print(f"  ... all of them are in {out}/failed.csv")
    return 2


def _for_workers(model: str) -> str:
    """A shipped model's name as it is, a file as an absolute path: workers run elsewhere."""
    return model if model in model_files.shipped() else str(Path(model).absolute())


class _Progress:
    """What is done, how fast, and the time that is left, by the sizes of the inputs."""

    def __init__(self, console: Console, missing: list[BulkInput]) -> None:
        self._console = console
        self._bytes = {one.source: _size(one) for one in missing}
        self._total = len(missing)
        self._started_s = self._printed_s = monotonic()
        self._done_bytes = self._done = self._failed = self._frames = self._people = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome; print a line from time to time."""
        self._frames += outcome.frames
        self._people += outcome.people
        if outcome.kind in ("done", "failed"):
            self._done += outcome.kind == "done"
            self._failed += outcome.kind == "failed"
            self._done_bytes += self._bytes.get(outcome.source, 0)
        if outcome.kind == "done" and outcome.reason:
            self._console.print(f"slimpose: {printable(f'{outcome.source}: {outcome.reason}')}")
        if monotonic() - self._printed_s >= _LINE_S:
            self._printed_s = monotonic()
            self._console.print(self.line())

    def line(self) -> str:
        """Return the state of the run in one line."""
        elapsed_s = monotonic() - self._started_s
        left = sum(self._bytes.values()) - self._done_bytes
        remaining = (
            f", about {_duration(elapsed_s * left / self._done_bytes)} left"
            if self._done_bytes
            else ""
        )
        return (
            f"{self._done} of {self._total} done, {self._failed} failed, "
            f"{counted(self._frames, 'frame')} ({self._frames / max(elapsed_s, 1e-9):.1f} per "
            f"second){remaining}"
        )

    def summary(self, workers: int) -> str:
        """Return what was done, at the end."""
        elapsed_s = monotonic() - self._started_s
        return (
            f"{counted(self._done, 'input')}, {counted(self._frames, 'frame')}, "
            f"{counted(self._people, 'pose')} in {_duration(elapsed_s)}: "
            f"{self._frames / max(elapsed_s, 1e-9):.1f} frames per second; "
            f"{counted(workers, 'worker')}"
        )


def _size(one: BulkInput) -> int:
    size = one.identity.partition("-")[0]
    return int(size) if size.isdecimal() else 0


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{hours:.1f} h"
        if hours >= 1
        else f"{minutes:.0f} min"
        if minutes >= 2
        else f"{seconds:.0f} s"
    )
