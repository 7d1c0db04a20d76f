"""``slimpose predict``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.drawing import DrawingFolder, PoseDrawing
from slimpose.cli.live_stats import stage_table
from slimpose.cli.options import (
    STANDARD_OUTPUT,
    DrawingOptions,
    FrameOptions,
    ModelFileOptions,
    ModelOptions,
    OutputOptions,
    TrackingOptions,
)
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.outputs import RecordWriters
from slimpose.cli.predict_inputs import Failures, Input, expand_all, name_inputs
from slimpose.formats import boxes as box_files
from slimpose.formats.boxes import BoxFile
from slimpose.hide import Hider
from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame, FrameRange, Media
from slimpose.media.images import ImageError
from slimpose.media.sources import open_media
from slimpose.media.video_reader import UnreadFramesError, silence_opencv_logs
from slimpose.messages import printable
from slimpose.poses import Poses
from slimpose.runtime.follower import Follower
from slimpose.runtime.frame_result import FrameResult
from slimpose.runtime.models import DEFAULT_DETECTOR
from slimpose.runtime.people_limits import largest_people
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.timing import StageTimes


def predict(
    sources: Annotated[tuple[str, ...], "SOURCE"],
    /,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    tracking: TrackingOptions,
    selected: FrameOptions,
    outputs: OutputOptions,
    style: DrawingOptions,
    out: Path = Path("out"),
    draw: bool = True,
    boxes: Path | None = None,
    profile: bool = False,
) -> int:
    """Find all people in images and videos, draw their poses, and write them as text.

    People in videos are tracked: they keep their ids, and their keypoints are smoothed. Inputs that
    cannot be read are reported at once and again at the end, and the others are processed; the exit
    code is then 2 (1 if the input was not the cause). While a video is processed, its outputs are
    named NAME.partial.SUFFIX; they are complete up to the last record at any time.

    Args:
        sources: Images, videos, folders of them, or quoted patterns such as 'photos/**/*.jpg'.
        models: Models and how they run.
        model_file: What the model file does not say itself.
        tracking: How people in videos are tracked.
        selected: Which frames of videos are processed.
        outputs: Text outputs.
        style: How poses are drawn.
        out: Folder for the drawn images and videos (videos become MP4: H.264 with their sound, with
            the extra video; else MPEG-4 Part 2 without it). They are named like the inputs and
            replace files of that name there. In a folder of the inputs they are named
            NAME.pose.jpg. There, and where a number is added because two inputs have one name, no
            file is replaced.
        draw: Draw the poses and write the drawn images and videos.
        boxes: File of person boxes to use instead of a detector: a COCO annotation file or a list
            of results. People are not tracked then; inputs that it does not mention have no people.
        profile: Print the time of every stage at the end.
    """
    drawing = PoseDrawing(style, is_used=draw)
    silence_opencv_logs()  # a broken file gets our one line, not ten of the decoder
    if boxes is not None and models.detector != DEFAULT_DETECTOR:
        raise ValueError(
            f"--boxes are used instead of a detector; expected no --detector {models.detector}"
        )
    box_file = box_files.read(boxes) if boxes is not None else None
    failures = Failures(plain_console(stderr=True))
    files = expand_all(sources, failures)
    if not files:
        return failures.summarize(completed=0)
    if box_file is not None and (missing := box_file.files_without_boxes(files)):
        failures.console.print(
            f"slimpose: {boxes} does not mention {missing} of {len(files)} inputs; "
            "they get no people"
        )
    check_output_paths(
        outputs.files(),
        {"--out": out if draw else None, **outputs.folders()},
        [*files, boxes, Path(models.model), Path(models.detector)],
    )
    model_file.remember(models.model)
    pipeline = models.load(with_detector=box_file is None)
    if box_file is not None and pipeline.estimator.finds_people:
        raise ValueError(f"{models.model} finds people itself; expected no --boxes")
    outputs.check_skeleton(pipeline.estimator.session.info.skeleton)
    started_s = perf_counter()
    run = _Run(
        estimator=_FrameEstimator(pipeline, tracking, box_file, drawing.hider),
        frames=selected.range,
        drawing=drawing,
        drawings=(DrawingFolder(out, files, with_sound=drawing.hider is None) if draw else None),
        records=RecordWriters(outputs),
        failures=failures,
    )
    run.process_all(files)
    console = plain_console(stderr=outputs.jsonl == STANDARD_OUTPUT)
    if run.counts.inputs:
        _print_summary(console, run, pipeline, threads=models.threads)
    if selected != FrameOptions() and run.counts.images and not run.counts.videos:
        console.print("NOTE: --every, --from and --to are about videos; all inputs were images")
    for line in [*drawing.notes(), *(run.drawings.notes() if run.drawings else [])]:
        console.print(line)
    paths = [*([str(out)] if draw else []), *run.records.paths]
    if run.counts.inputs and paths:
        console.print(f"written: {', '.join(paths)}")
    if profile:
        console.print(stage_table(run.stages, perf_counter() - started_s))
    sys.stdout.flush()
    code = failures.summarize(completed=run.counts.completed)
    run.records.check_readers()
    return code


@dataclass(slots=True, kw_only=True)
class _Counts:
    """Statistics of a run; ``completed`` inputs are those that were read to their end."""

    images: int = 0
    videos: int = 0
    completed: int = 0
    frames: int = 0
    poses: int = 0
    detections: int = 0

    @property
    def inputs(self) -> int:
        return self.images + self.videos


@dataclass(frozen=True, slots=True)
class _FrameEstimator:
    """Estimates the poses of frames: tracked in videos, frame by frame in images or given boxes."""

    pipeline: Pipeline
    tracking: TrackingOptions
    box_file: BoxFile | None
    hider: Hider | None
    stages: StageTimes = field(default_factory=StageTimes)

    def new_follower(self, media: Media) -> Follower | None:
        """Return a follower for a video; None for an image, or with given boxes."""
        if not media.is_video or self.box_file is not None:
            return None
        return self.tracking.follower(self.pipeline, find_everyone=self.hider is not None)

    def estimate(
        self, media: Media, frame: Frame, follower: Follower | None
    ) -> tuple[Image, Poses]:
        """Return the image of a frame, with the people hidden where they are to be, and its poses.

        Only hidden images go on from here.
        """
        if follower is None and self.hider is not None and self.box_file is None:
            follower = Follower(self.pipeline, track=False, find_everyone=True)
        if follower is None:
            boxes = self._boxes(media.path, frame)
            poses, stages_ms = self.pipeline.timed(frame.image, *boxes)
        else:
            (poses,) = follower.step([frame])
            stages_ms = follower.last_ms
        self.stages.add_all(stages_ms)
        if self.hider is None:
            return frame.image, poses
        with self.stages.timed("hide"):
            everyone = poses if follower is None else follower.everyone[0]
            return self.hider(frame.image, everyone), poses

    def _boxes(self, file: Path, frame: Frame) -> tuple[()] | tuple[Boxes, PersonScores]:
        """The frame's boxes and scores in the box file, checked; nothing without such a file."""
        if self.box_file is None:
            return ()
        try:
            boxes, scores = self.box_file.lookup(file, frame.index, Size(*frame.image.shape[:2]))
            geometry.check_boxes_in_image(boxes, frame.image)
        except ValueError as error:
            raise SourceError(f"{file}: {error} (boxes of {self.box_file.path})") from error
        limits = self.pipeline.limits
        confident = scores >= (limits.conf or 0.0)
        boxes, scores = boxes[confident], scores[confident]
        kept = largest_people(boxes, limits.max_people)
        return boxes[kept], scores[kept]


@dataclass(slots=True, kw_only=True)
class _Run:
    """Processes the inputs one by one and counts."""

    estimator: _FrameEstimator
    frames: FrameRange
    drawing: PoseDrawing
    drawings: DrawingFolder | None
    records: RecordWriters
    failures: Failures
    counts: _Counts = field(default_factory=_Counts)

    @property
    def stages(self) -> StageTimes:
        return self.estimator.stages

    def process_all(self, files: Sequence[Path]) -> None:
        """Process all inputs; finish the text outputs, or remove them if no input was readable."""
        try:
            with _ProgressBar(self.failures.console, inputs=len(files)) as progress:
                for item in name_inputs(files):
                    self._process_input(item, progress)
                    if self._is_unread:
                        break
            if self.counts.inputs:
                self.records.finish()
            else:
                self.records.discard()
        except KeyboardInterrupt:
            if self.counts.frames:
                self.failures.console.print(
                    "slimpose: what was written so far is kept: "
                    "unfinished files have .partial in their names"
                )
            raise
        finally:
            if self.counts.frames:
                self.records.close()
            else:
                self.records.discard()

    @property
    def _is_unread(self) -> bool:
        """Whether standard output is the only output and its reader has gone."""
        return self.drawings is None and self.records.all_readers_gone

    def _process_input(self, item: Input, progress: _ProgressBar) -> None:
        """Process one input; if it fails, report it and remove its records and drawings."""
        positions, counts_before = self.records.positions(), replace(self.counts)
        try:
            with self.stages.timed("read"):
                media = open_media(item.path, self.frames)
            progress.start_input(media)
            self._process_frames(media, item, progress)
        except (
            ImageError,
            SourceError,
            RuntimeError,
            OSError,
            OverflowError,
            MemoryError,
            cv2.error,
        ) as error:
            self.records.truncate(positions)
            self.counts = counts_before
            self.failures.add(str(item.path), error)
            if not isinstance(error, ImageError | SourceError):
                self.failures.exit_code = 1
            return
        self.counts.videos += media.is_video
        self.counts.images += not media.is_video
        self.counts.completed += str(item.path) not in self.failures.names

    def _process_frames(self, media: Media, item: Input, progress: _ProgressBar) -> None:
        """Estimate, write and draw the poses of every frame."""
        follower = self.estimator.new_follower(media)
        is_one_image = not media.is_video and media.frame_count == 1
        image_id = item.image_id if is_one_image else None
        with self.drawings.writer(media) if self.drawings else nullcontext() as write_drawn:
            for frame in self._read_frames(media):
                image, poses = self.estimator.estimate(media, frame, follower)
                result = FrameResult(
                    source=item.source,
                    stem=item.stem,
                    camera=frame.camera,
                    frame_index=frame.index,
                    timestamp_s=frame.timestamp_s,
                    image=image,
                    poses=poses,
                    image_id=image_id,
                )
                self.counts.frames += 1
                self.counts.poses += len(result.poses)
                with self.stages.timed("draw and write"):
                    self.records.write(result)
                    if write_drawn is not None:
                        write_drawn(self.drawing.draw(result), frame.timestamp_s)
                progress.advance_frame()
                if self._is_unread:
                    break
        self.counts.detections += follower.detections if follower is not None else 0

    def _read_frames(self, media: Media) -> Iterator[Frame]:
        """The frames; a video with missing frames is reported as failed, its other frames kept."""
        started_s = perf_counter()
        try:
            for frame in media.frames:
                if frame.index:
                    self.stages.add("read", 1e3 * (perf_counter() - started_s))
                yield frame
                started_s = perf_counter()
        except UnreadFramesError as error:
            self.failures.add(str(media.path), error)


class _ProgressBar(Progress):
    """Progress in frames; an image is one frame."""

    def __init__(self, console: Console, *, inputs: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._frames = inputs
        self._task = self.add_task("", total=inputs)

    def start_input(self, media: Media) -> None:
        """Show the name of the next input and add its frames, as far as their number is known."""
        self._frames += max(0, media.frame_count - 1)
        self.update(self._task, description=printable(media.path.name), total=self._frames)

    def advance_frame(self) -> None:
        """Count one frame as done."""
        self.advance(self._task)


def _print_summary(console: Console, run: _Run, pipeline: Pipeline, *, threads: int | None) -> None:
    """Print what was processed, by which models, and how fast."""
    counts = run.counts
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
        console.print(f"median ms per frame: {run.stages.medians()}")
    if counts.detections:
        runner = "the model" if one_stage else "the detector"
        console.print(f"{runner} ran on {counted(counts.detections, 'frame')} of videos")
