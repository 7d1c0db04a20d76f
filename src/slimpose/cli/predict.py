"""``slimpose predict``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

import slimpose
from slimpose import geometry
from slimpose.arrays import Boxes, PersonScores
from slimpose.cli.drawing import DrawnFolder
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.outputs import STANDARD_OUTPUT, Found, OutputOptions, RecordWriters, UniqueStems
from slimpose.draw import draw_poses
from slimpose.formats import boxes as box_files
from slimpose.formats.openpose import Order
from slimpose.formats.results import image_number
from slimpose.media import capture
from slimpose.media.addresses import redacted
from slimpose.media.images import ImageError
from slimpose.media.sources import Frame, Media, SourceError, UnreadFramesError, expand, open_media
from slimpose.poses import Poses
from slimpose.runtime import models
from slimpose.runtime.follower import CameraFrame, Follower
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.stage_timing import StageTimes


def predict(
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    /,
    out: Path = Path("out"),
    json: Path | None = None,
    csv: Path | None = None,
    jsonl: str | None = None,
    openpose: Path | None = None,
    openpose_order: Order = "BODY_25",
    model: str = "mnv2",
    detector: str = "detector",
    boxes: Path | None = None,
    threads: int = 0,
    backend: str = "onnxruntime",
    precision: str = "",
    score_threshold: float | None = None,
    draw: bool = True,
    detect_every: int = 8,
    track: bool = True,
    smooth: bool = True,
    profile: bool = False,
) -> int:
    """Find everyone in pictures and videos, draw their poses, and write them as text.

    People in videos are followed: they keep their numbers and their joints are smoothed. What
    cannot be read is told at once and again at the end, the rest is done, and the exit code is 2 (1
    where it was not the input's fault). While videos are looked at, their files are called
    NAME.partial.SUFFIX: whole up to the last record at any time.

    Args:
        sources: Pictures, videos, folders of them, or quoted patterns such as 'photos/**/*.jpg'.
        out: Folder for the drawn pictures and videos (videos become mp4, without sound). They are
            called as the inputs are and replace what has that name there; in a folder of the inputs
            they are called NAME.pose.jpg, and there, as where a number tells two of one name apart,
            no file is replaced.
        json: File for the poses as COCO results: a list with one record a person; pictures that are
            called by their numbers (000000000139.jpg) get the image_id that COCO's tools want.
        csv: File for the poses as CSV: one row a person a frame a joint.
        jsonl: File for the poses as JSON lines, one a frame; - is standard output.
        openpose: Folder for the poses as OpenPose's JSON, one file a frame.
        openpose_order: Its joints; the neck is the middle of the shoulders, the feet of BODY_25
            stay 0.
        model: A shipped pose model's name (slimpose models lists them), or a file of slimpose
            export.
        detector: The same for the person detector.
        boxes: Boxes to look at instead of the detector's: a COCO annotation file, or a list of
            results; nobody is followed then, and nobody found in inputs that it does not mention.
        threads: CPU threads for the networks; 0 leaves the choice to the backend.
        backend: What computes the networks: onnxruntime, openvino, tensorrt or cuda; auto is the
            fastest here, by a short trial that is remembered.
        precision: What it computes in: bf16 or fp16 where slimpose doctor lists it, any lets
            --backend auto choose; by default the files' own.
        score_threshold: Least score 0..1 of a person's box; the detector's own by default.
        draw: Whether to draw and write pictures.
        detect_every: In videos, the detector looks at least at every N-th frame.
        track: Whether people in videos are numbered and followed.
        smooth: Whether the joints of people who are followed are smoothed.
        profile: Whether to tell the time of every stage at the end.
    """
    if not sources:
        raise ValueError(
            "nothing to look at; expected pictures, videos or folders: slimpose predict street.jpg"
        )
    capture.silence_opencv_logs()  # a broken file gets our line, not the decoder's ten
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"--score-threshold is {score_threshold:g}; expected a number 0..1")
    if detect_every < 1:
        raise ValueError(f"--detect-every is {detect_every}; expected 1 or more")
    if boxes is not None and detector != models.DEFAULT_DETECTOR:
        raise ValueError(
            f"--boxes are looked at instead of a detector's; expected no --detector {detector}"
        )
    targets = OutputOptions(
        json=json, csv=csv, jsonl=jsonl, openpose=openpose, openpose_order=openpose_order
    )
    given = box_files.read(boxes) if boxes is not None else None
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    failures = _Failures(console)
    files = _expanded(sources, failures)
    if not files:
        return failures.summarize(done=0)
    unmentioned = given.files_without_boxes(files) if given is not None else 0
    if unmentioned:
        console.print(
            f"slimpose: {boxes} does not mention {unmentioned} of {len(files)} inputs; nobody is found there"
        )
    pipeline = slimpose.load(
        model,
        None if given else detector,
        threads,
        score_threshold,
        backend=backend,
        precision=precision,
    )

    def new_follower() -> Follower:
        return Follower(pipeline, detect_every=detect_every, track=track, smooth=smooth)

    started = perf_counter()
    run = _Run(
        pipeline=pipeline,
        new_follower=new_follower,
        failures=failures,
        given=given,
        least_box_score=score_threshold or 0.0,
        is_tracked=track,
    )
    check_output_paths(
        targets.files(),
        {**({"--out": out} if draw else {}), **targets.folders()},
        [*files, *filter(None, [boxes, Path(model), Path(detector)])],
    )
    drawn = DrawnFolder(out, files) if draw else None
    names, stems = Counter(file.name for file in files), UniqueStems()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    records = RecordWriters(targets)
    try:
        with Progress(
            *columns, console=console, disable=not console.is_terminal, transient=True
        ) as progress:
            task = progress.add_task("", total=len(files))
            for file in files:
                progress.update(task, description=file.name)
                name = file.name if names[file.name] == 1 else file.as_posix()
                run.look_at(file, name, stems.claim(file.stem), records, drawn, progress, task)
                if drawn is None and records.all_readers_gone:
                    break
        if run.done:
            records.finish()
        else:
            records.discard()
    except KeyboardInterrupt:
        if run.frames:
            console.print(
                "slimpose: what was written so far stays: files that were not finished have .partial in their names"
            )
        raise
    finally:
        records.close()
    report = Console(stderr=jsonl == STANDARD_OUTPUT, soft_wrap=True, highlight=False, markup=False)
    places = [*([str(out)] if draw else []), *records.places] if run.done else []
    run.summarize(report, places=places, threads=threads)
    if profile:
        report.print(run.stages.table(perf_counter() - started))
    code = failures.summarize(done=run.done_whole)
    records.check_readers()
    return code


@dataclass(slots=True)
class _Failures:
    """The inputs that something is wrong with."""

    console: Console
    names: list[str] = field(default_factory=list)
    exit_code: int = 2

    def add(self, name: str, error: Exception) -> None:
        """Tell what is wrong with an input, and remember it."""
        reason = str(error)
        self.console.print(
            f"slimpose: {reason if reason.startswith(name) else f'{name}: {reason}'}"
        )
        self.names.append(name)

    def summarize(self, *, done: int) -> int:
        """List them, where there were other inputs too; return the exit code."""
        inputs = len(self.names) + done
        if self.names and inputs > 1:
            self.console.print(f"slimpose: {len(self.names)} of {inputs} inputs failed:")
            for name in self.names:
                self.console.print(f"  {name}")
        return self.exit_code if self.names else 0


def _expanded(sources: Iterable[str], failures: _Failures) -> list[Path]:
    """The files that the sources name, each once."""
    files: dict[Path, Path] = {}
    for source in sources:
        try:
            for file in expand(source):
                files.setdefault(file.resolve(), file)
        except SourceError as error:
            failures.add(redacted(source), error)
    return list(files.values())


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a call has found and lost so far."""

    pipeline: Pipeline
    new_follower: Callable[[], Follower]
    failures: _Failures
    given: box_files.BoxFile | None
    least_box_score: float
    is_tracked: bool
    done: int = 0
    done_whole: int = 0
    pictures: int = 0
    videos: int = 0
    frames: int = 0
    people: int = 0
    detections: int = 0
    stages: StageTimes = field(default_factory=StageTimes)

    def look_at(
        self,
        file: Path,
        name: str,
        stem: str,
        records: RecordWriters,
        drawn: DrawnFolder | None,
        progress: Progress,
        task: TaskID,
    ) -> None:
        """Do one input; what is wrong with it is told and noted, and nothing of it stays in the outputs."""
        mark, frames, people = records.mark(), self.frames, self.people
        try:
            with self.stages.timed("read"):
                media = open_media(file)
            if media.is_video and media.frame_count:
                progress.update(task, total=(progress.tasks[0].total or 0) + media.frame_count - 1)
            self._go_through(media, name, stem, records, drawn, lambda: progress.advance(task))
        except (
            ImageError,
            SourceError,
            RuntimeError,
            OSError,
            OverflowError,
            MemoryError,
            cv2.error,
        ) as error:
            records.roll_back(mark)
            self.frames, self.people = frames, people
            self.failures.add(str(file), error)
            if not isinstance(error, ImageError | SourceError):
                self.failures.exit_code = 1
            return
        self.done += 1
        self.done_whole += str(file) not in self.failures.names
        self.videos += media.is_video
        self.pictures += not media.is_video

    def _go_through(
        self,
        media: Media,
        name: str,
        stem: str,
        records: RecordWriters,
        drawn: DrawnFolder | None,
        advance: Callable[[], None],
    ) -> None:
        """Find, write and draw, frame by frame."""
        follower = self.new_follower() if media.is_video and self.given is None else None
        is_numbered = follower is not None and self.is_tracked
        with drawn.writer(media) if drawn is not None else nullcontext() as write_drawn:
            for frame in self._sound_frames(media):
                poses = self._poses(media, frame, follower)
                self.frames += 1
                self.people += len(poses)
                with self.stages.timed("draw and write"):
                    records.write(
                        Found(
                            source=name,
                            stem=stem,
                            camera=0,
                            frame=frame.index,
                            timestamp_s=frame.timestamp_s,
                            poses=poses,
                            image_id=None if media.is_video else image_number(media.path),
                        )
                    )
                    if write_drawn is not None:
                        picture = draw_poses(frame.image, poses, boxes=is_numbered, ids=is_numbered)
                        write_drawn(picture, frame.timestamp_s)
                advance()
                if drawn is None and records.all_readers_gone:
                    break
        self.detections += follower.detections if follower is not None else 0

    def _poses(self, media: Media, frame: Frame, follower: Follower | None) -> Poses:
        if follower is None:
            timed = self.pipeline.timed(frame.image, *self._given_boxes(media.path, frame))
            self.stages.add("detect", timed.detect_ms)
            self.stages.add("pose", timed.pose_ms)
            return timed.poses
        (poses,) = follower.step(
            [CameraFrame(camera=0, image=frame.image, timestamp_s=frame.timestamp_s)]
        )
        for stage, ms in follower.last_ms.items():
            self.stages.add(stage, ms)
        return poses

    def _given_boxes(self, file: Path, frame: Frame) -> tuple[()] | tuple[Boxes, PersonScores]:
        """The frame's boxes and scores of the boxes file, checked; nothing without such a file."""
        if self.given is None:
            return ()
        try:
            boxes, scores = self.given.lookup(file, frame.index)
            geometry.check_boxes_in_image(boxes, frame.image)
        except ValueError as error:
            raise SourceError(f"{file}: {error}") from error
        counted = scores >= self.least_box_score
        return boxes[counted], scores[counted]

    def _sound_frames(self, media: Media) -> Iterator[Frame]:
        """The frames; a video that breaks off is noted as failed, and what came before is kept."""
        started = perf_counter()
        try:
            for frame in media.frames:
                if frame.index:
                    self.stages.add("read", 1e3 * (perf_counter() - started))
                yield frame
                started = perf_counter()
        except UnreadFramesError as error:
            self.failures.add(str(media.path), error)

    def summarize(self, report: Console, *, places: list[str], threads: int) -> None:
        """Tell what was done, by what, how fast and where it is."""
        counted = ((self.pictures, "image"), (self.videos, "video"))
        seen = (
            " and ".join(
                f"{number} {kind}{'s' * (number != 1)}" for number, kind in counted if number
            )
            or "nothing"
        )
        seen += f" ({self.frames} frames)" if self.videos else ""
        found = "pose" if self.videos else "person"
        people = f"{self.people} {found if self.people == 1 else 'people' if found == 'person' else 'poses'}"
        pose = self.pipeline.estimator.session
        finder = (
            self.pipeline.detector.session.info.name
            if self.pipeline.detector is not None
            else "given boxes"
        )
        by = f", {pose.backend} {pose.precision}" if isinstance(pose, Session) else ""
        workers = f"{threads or f'automatic (of {os.cpu_count()})'} CPU threads"
        report.print(f"{seen}, {people}; {finder} + {pose.info.name}, {workers}{by}")
        if self.frames:
            report.print(f"median ms a frame: {self.stages.medians()}")
        if self.detections:
            report.print(f"the detector looked at {self.detections} frames of videos")
        if places:
            report.print(f"written: {', '.join(places)}")
        sys.stdout.flush()
