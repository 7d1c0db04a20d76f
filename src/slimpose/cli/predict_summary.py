"""What a run of ``predict`` counted, and the lines that it prints at its end."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rich.console import Console

from slimpose.cli.counted import counted
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.timing import StageTimes


@dataclass(slots=True, kw_only=True)
class Counts:
    """Statistics of a run; ``completed`` inputs are those that were read to their end."""

    images: int = 0
    videos: int = 0
    completed: int = 0
    frames: int = 0
    poses: int = 0
    detections: int = 0

    @property
    def inputs(self) -> int:
        """Number of inputs that were read, at least in part."""
        return self.images + self.videos


def print_summary(
    console: Console, counts: Counts, stages: StageTimes, pipeline: Pipeline, *, threads: int | None
) -> None:
    """Print what was processed, by which models, and how fast."""
    kinds = ((counts.images, "image"), (counts.videos, "video"))
    inputs = " and ".join(counted(number, kind) for number, kind in kinds if number)
    inputs += f" ({counted(counts.frames, 'frame')})" if counts.videos else ""
    people = counted(counts.poses, "pose" if counts.videos else "person")
    session, detector = pipeline.estimator.session, pipeline.detector
    boxes = detector.session.info.name if detector else "given boxes"
    one_stage = pipeline.estimator.finds_people
    models = session.info.name if one_stage else f"{boxes} + {session.info.name}"
    automatic = f"automatic (of {os.cpu_count()}) CPU threads"
    cpu = counted(threads, "CPU thread") if threads else automatic
    backend = f", {session.backend} {session.precision}" if isinstance(session, Session) else ""
    console.print(f"{inputs}, {people}; {models}, {cpu}{backend}")
    if counts.frames:
        console.print(f"median ms per frame: {stages.medians()}")
    if counts.detections:
        runner = "the model" if one_stage else "the detector"
        console.print(f"{runner} ran on {counted(counts.detections, 'frame')} of videos")
