"""``slimpose predict``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

from slimpose.arrays import Image
from slimpose.cli.console import plain_console
from slimpose.cli.drawing import DrawingFolder, PoseDrawing
from slimpose.cli.frame_estimator import FrameEstimator
from slimpose.cli.live import live
from slimpose.cli.live_stats import stage_table
from slimpose.cli.model_file_options import DetectorFileOptions, ModelFileOptions
from slimpose.cli.options import (
    STANDARD_OUTPUT,
    DrawingOptions,
    FrameOptions,
    ModelOptions,
    OutputOptions,
    StreamOptions,
    TrackingOptions,
    first_given,
)
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.outputs import RecordWriters
from slimpose.cli.predict_inputs import Failures, Input, expand_all, name_inputs, subfolders
from slimpose.cli.predict_summary import Counts, print_summary
from slimpose.cli.progress_bar import ProgressBar
from slimpose.cli.window import Window
from slimpose.formats import boxes as box_files
from slimpose.media.addresses import SourceError, is_stream
from slimpose.media.frame import Frame, FrameRange, Media
from slimpose.media.images import ImageError
from slimpose.media.sources import INPUT_ERRORS, is_image_url, open_media
from slimpose.media.video_reader import UnreadFramesError, silence_opencv_logs
from slimpose.runtime.frame_result import FrameResult
from slimpose.runtime.models import DEFAULT_DETECTOR
from slimpose.runtime.timing import StageTimes


def predict(
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
    out: Path = Path("out"),
    recursive: bool = False,
    draw: bool = True,
    boxes: Path | None = None,
    profile: bool = False,
) -> int:
    """Find all people in images, videos or cameras, draw their poses, and write them as text.

    People in videos are tracked: they keep their ids, and their keypoints are smoothed. Inputs that
    cannot be read are reported at once and again at the end, and the others are processed; the exit
    code is then 2 (1 if the input was not the cause). While a video is processed, its outputs are
    named NAME.partial.SUFFIX; they are complete up to the last record at any time. With a camera or
    a stream among the sources it does what slimpose live does.

    Args:
        sources: Images, videos, folders of them, quoted patterns such as 'photos/**/*.jpg', or
            addresses of images; or cameras and streams, see slimpose live.
        models: Models and how they run.
        model_file: What the model file does not say itself.
        detector_file: The same for the detector.
        tracking: How people in videos are tracked.
        selected: Which frames of videos are processed.
        outputs: Text outputs.
        style: How poses are drawn.
        streams: Cameras and when the run ends.
        out: Folder for the drawn images and videos (videos become MP4: H.264 with their sound, with
            the extra video; else MPEG-4 Part 2 without it). They are named like the inputs, in a
            folder of the inputs NAME.pose.jpg; where a file of that name exists, a number is added.
        recursive: Search the subfolders of folders too; drawings are then in such subfolders.
        draw: Draw the poses and write the drawn images and videos.
        boxes: File of person boxes to use instead of a detector: a COCO annotation file or a list
            of results. In videos each box has a pose and an id; what it does not mention has no
            people.
        profile: Print the time of every stage at the end.
    """
    if streams.cameras is not None or any(
        is_stream(source) and not is_image_url(source) for source in sources
    ):
        _check_stream_options(boxes, recursive=recursive)
        return live(
            sources,
            models=models,
            model_file=model_file,
            detector_file=detector_file,
            tracking=tracking,
            selected=selected,
            outputs=outputs,
            style=style,
            streams=streams,
            out=out if draw else None,
            profile=profile,
        )
    if not sources:
        raise ValueError("missing SOURCE ...; slimpose predict --help lists all")
    if streams != StreamOptions():
        raise ValueError(
            f"{first_given(streams)} is about cameras and streams; expected one among the sources "
            "(slimpose live takes it with video files too)"
        )
    with TemporaryDirectory(prefix="slimpose-") as downloads:
        failures = Failures(plain_console(stderr=True))
        silence_opencv_logs()  # a broken file gets our one line, not ten of the decoder
        files = expand_all(sources, failures, recursive=recursive, downloads=Path(downloads))
        return _predict_files(
            files,
            failures,
            models=models,
            model_file=model_file,
            detector_file=detector_file,
            tracking=tracking,
            selected=selected,
            outputs=outputs,
            drawing=PoseDrawing(style, is_used=draw),
            window=Window("slimpose") if style.show and files else None,
            out=out if draw else None,
            subfolders=subfolders(sources, files) if recursive else {},
            boxes=boxes,
            profile=profile,
        )


def _check_stream_options(boxes: Path | None, *, recursive: bool) -> None:
    """Reject the options that are about files."""
    given = {"--boxes": boxes is not None, "--recursive": recursive}
    for option in (option for option, is_given in given.items() if is_given):
        raise ValueError(f"{option} is about files; expected no camera or stream among the sources")


def _predict_files(
    files: list[Path],
    failures: Failures,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    detector_file: DetectorFileOptions,
    tracking: TrackingOptions,
    selected: FrameOptions,
    outputs: OutputOptions,
    drawing: PoseDrawing,
    window: Window | None,
    out: Path | None,
    subfolders: Mapping[Path, Path],
    boxes: Path | None,
    profile: bool,
) -> int:
    """Predict images and videos; return the exit code."""
    tiles = "--tiles" if models.tiles != "off" else ""
    unused = tiles if models.detector == DEFAULT_DETECTOR else f"--detector {models.detector}"
    if boxes is not None and unused:
        raise ValueError(f"--boxes are used instead of a detector; expected no {unused}")
    box_file = box_files.read(boxes) if boxes is not None else None
    if not files:
        return failures.summarize(completed=0)
    if box_file is not None and (missing := box_file.files_without_boxes(files)):
        failures.console.print(
            f"slimpose: {boxes} does not mention {missing} of {len(files)} inputs; "
            "they get no people"
        )
    check_output_paths(
        outputs.files(),
        {"--out": out, **outputs.folders()},
        [*files, boxes, Path(models.model), Path(models.detector)],
        overwrite=outputs.overwrite,
    )
    model_file.remember(models.model)
    detector_file.remember(models.detector, is_used=box_file is None)
    pipeline = models.load(with_detector=box_file is None)
    if box_file is not None and pipeline.estimator.finds_people:
        raise ValueError(f"{models.model} finds people itself; expected no --boxes")
    outputs.check_skeleton(pipeline.estimator.session.info.skeleton)
    started_s = perf_counter()
    inputs = name_inputs(files)
    run = _Run(
        estimator=FrameEstimator(pipeline, tracking, box_file, drawing.hider),
        frames=selected.range,
        drawing=drawing,
        window=window,
        drawings=(
            DrawingFolder(
                out,
                files,
                overwrite=outputs.overwrite,
                subfolders=subfolders,
                with_sound=drawing.hider is None,
            )
            if out is not None
            else None
        ),
        records=RecordWriters(outputs, [item.stem for item in inputs]),
        failures=failures,
    )
    run.process_all(inputs)
    console = plain_console(stderr=outputs.jsonl == STANDARD_OUTPUT)
    if run.counts.inputs:
        print_summary(console, run.counts, run.stages, pipeline, threads=models.threads)
    if selected != FrameOptions() and run.counts.images and not run.counts.videos:
        console.print("NOTE: --every, --from and --to are about videos; all inputs were images")
    for line in [
        *drawing.notes(),
        *(run.drawings.notes() if run.drawings else []),
        *run.records.notes(),
    ]:
        console.print(line)
    paths = [*([str(out)] if out is not None else []), *run.records.paths]
    if run.counts.inputs and paths:
        console.print(f"written: {', '.join(paths)}")
    if profile:
        console.print(stage_table(run.stages, perf_counter() - started_s))
    sys.stdout.flush()
    if box_file is not None and (doubt := box_file.doubt()):
        failures.console.print(f"slimpose: warning: {doubt}")
    code = failures.summarize(completed=run.counts.completed)
    run.records.check_readers()
    return code


@dataclass(slots=True, kw_only=True)
class _Run:
    """Processes the inputs one by one and counts."""

    estimator: FrameEstimator
    frames: FrameRange
    drawing: PoseDrawing
    window: Window | None
    drawings: DrawingFolder | None
    records: RecordWriters
    failures: Failures
    counts: Counts = field(default_factory=Counts)

    @property
    def stages(self) -> StageTimes:
        return self.estimator.stages

    def process_all(self, inputs: Sequence[Input]) -> None:
        """Process all inputs; finish the text outputs, or remove them if no input was readable."""
        try:
            with ProgressBar(self.failures.console, inputs=len(inputs)) as progress:
                for item in inputs:
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

    def _process_input(self, item: Input, progress: ProgressBar) -> None:
        """Process one input; if it fails, report it and remove its records and drawings."""
        positions, counts_before = self.records.positions(), replace(self.counts)
        try:
            with self.stages.timed("read"):
                media = open_media(item.path, self.frames)
            progress.start_input(media)
            self._process_frames(media, item, progress)
        except INPUT_ERRORS as error:
            self.records.truncate(positions)
            self.counts = counts_before
            self.failures.add(str(item.path), error)
            if not isinstance(error, ImageError | SourceError):
                self.failures.exit_code = 1
            return
        self.counts.videos += media.is_video
        self.counts.images += not media.is_video
        self.counts.completed += str(item.path) not in self.failures.names

    def _process_frames(self, media: Media, item: Input, progress: ProgressBar) -> None:
        """Estimate, write and draw the poses of every frame."""
        follow = self.estimator.of(media)
        is_one_image = not media.is_video and media.frame_count == 1
        image_id = item.image_id if is_one_image else None
        with self.drawings.writer(media) if self.drawings else nullcontext() as write_drawn:
            for frame in self._read_frames(media):
                image, poses = follow(frame)
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
                    if write_drawn is not None or self.window is not None:
                        drawn = self.drawing.draw(result)
                        if write_drawn is not None:
                            write_drawn(drawn, frame.timestamp_s)
                        self._show(drawn)
                progress.advance_frame()
                if self.window is not None and not media.is_video:
                    self.window.wait_for_key()
                if self._is_unread:
                    break
        self.counts.detections += follow.detections

    def _show(self, drawn: Image) -> None:
        """Show a drawing in the window; interrupt the run if that was closed."""
        if self.window is not None:
            if not self.window.is_open:
                raise KeyboardInterrupt
            self.window.show(drawn)

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
