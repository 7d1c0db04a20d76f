"""Command-line options that several commands share: defined, documented and checked once.

A command takes such a dataclass as a parameter, and each of its fields becomes an option
(``arguments.py``):

    def predict(..., models: ModelOptions)     # --model, --detector, --threads ...
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import slimpose
from slimpose.draw import DRAWN_JOINT_SCORE
from slimpose.formats import openpose
from slimpose.formats.openpose import Order
from slimpose.hide import What
from slimpose.measure.trial import doubts
from slimpose.media.frame import FrameRange
from slimpose.messages import quoted
from slimpose.runtime import models
from slimpose.runtime.follower import Follower
from slimpose.runtime.machine import check_threads
from slimpose.runtime.people_limits import PeopleLimits
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.tiles import TiledDetector, Tiles
from slimpose.skeleton import Skeleton

STANDARD_OUTPUT = "-"
_MAX_LINE_WIDTH_PX = 255
_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d{1,9})?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How models are run.

    Attributes:
        threads: CPU threads for the models; chosen by the backend by default.
        backend: Runtime for the models: onnxruntime, openvino, tensorrt or cuda; auto selects the
            fastest available one in a short benchmark and remembers it.
        precision: Precision of the computation: bf16 or fp16 where slimpose doctor lists it; any
            lets --backend auto choose; by default the precision of the model files.

    Raises:
        ValueError: If the number of threads is not positive.
    """

    threads: int | None = None
    backend: str = "onnxruntime"
    precision: str | None = None

    def __post_init__(self) -> None:
        check_threads(self.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(RuntimeOptions):
    """Models and how they run.

    Attributes:
        model: Pose model: a shipped model's name (see slimpose models), a file written by slimpose
            export, or one of another project (docs/models.md); a one-stage model needs no detector.
        detector: Person detector: a shipped model's name or a file.
        conf: Minimum score 0..1 of a person box; by default the detector's own threshold.
        max_people: At most this many people per image, the largest.
        tiles: Run the detector also on enlarged tiles of each image, around whatever may be a small
            person: for people who are small, or many. Takes several times its time, for hundreds
            of people hundreds of times.

    Raises:
        ValueError: If a number is out of range.
    """

    model: str = models.DEFAULT_POSE
    detector: str = models.DEFAULT_DETECTOR
    conf: float | None = None
    max_people: int | None = None
    tiles: Tiles = "off"

    def __post_init__(self) -> None:
        RuntimeOptions.__post_init__(self)  # super() does not work in a class with slots
        if self.conf is not None and not 0 <= self.conf <= 1:
            raise ValueError(f"--conf is {self.conf:g}; expected a number 0..1")
        if self.max_people is not None and self.max_people < 1:
            raise ValueError(f"--max-people is {self.max_people}; expected 1 or more")

    def load(self, *, with_detector: bool = True) -> Pipeline:
        """Open the pose model and, unless boxes come from elsewhere, the detector.

        Models of other projects that do badly in a trial are reported (``measure/trial.py``).
        """
        detector = self.detector if with_detector else None
        pipeline = slimpose.load(
            self.model,
            detector,
            threads=self.threads,
            conf=self.conf,
            max_people=self.max_people,
            tiles=self.tiles if with_detector else "off",
            backend=self.backend,
            precision=self.precision,
        )
        for doubt in doubts(pipeline, self.model, detector):
            print(f"slimpose: warning: {doubt}", file=sys.stderr)
        return pipeline


def tile_note(pipeline: Pipeline) -> str | None:
    """Return how often a detector with tiles ran, for the end of a run; None without tiles."""
    detector = pipeline.detector
    if not isinstance(detector, TiledDetector) or not detector.images:
        return None
    return (
        f"tiles: the detector ran {detector.runs / detector.images:.1f} times per image that it "
        "processed"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions:
    """How people are followed through videos and camera streams.

    Attributes:
        detect_every: Run the detector at least on every N-th frame of a video or camera.
        track: Track people: keep their ids from frame to frame.
        smooth: Smooth the keypoints of tracked people over time.

    Raises:
        ValueError: If a number is out of range.
    """

    detect_every: int = 8
    track: bool = True
    smooth: bool = True

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ValueError(f"--detect-every is {self.detect_every}; expected 1 or more")

    def follower(
        self,
        pipeline: Pipeline,
        *,
        cameras: int = 1,
        limits: Sequence[PeopleLimits] | None = None,
        find_everyone: bool = False,
    ) -> Follower:
        """Return a follower with these options."""
        return Follower(
            pipeline,
            cameras=cameras,
            detect_every=self.detect_every,
            track=self.track,
            smooth=self.smooth,
            find_everyone=find_everyone,
            limits=limits,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Cameras and streams.

    Attributes:
        cameras: TOML file of cameras with names, addresses and thresholds of their own, in addition
            to the sources (docs: video and cameras); with their zones and lines, and an MQTT broker
            and webhooks that events are sent to (docs: events).
        events: File for the events as JSON lines.
        mosaic: MP4 file for a drawn video of all cameras side by side.
        realtime: Play video files in real time, like cameras: frames may be dropped.
        loop: Start video files again at their end.
        seconds: Stop after this many seconds.
        frames: Stop after this many frames of all cameras together.

    Raises:
        ValueError: If a number is out of range.
    """

    cameras: Path | None = None
    events: Path | None = None
    mosaic: Path | None = None
    realtime: bool = False
    loop: bool = False
    seconds: float | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        for option, bound in (("--seconds", self.seconds), ("--frames", self.frames)):
            if bound is not None and not bound > 0:
                raise ValueError(f"{option} is {bound:g}; expected a number over 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions:
    """Which frames of videos and streams are processed.

    Attributes:
        every: Only every N-th frame.
        start: Start videos at this time: seconds, or minutes:seconds, hours:minutes:seconds. They
            are decoded up to it.
        end: End videos before this time.

    Raises:
        ValueError: If a value is no time or out of range.
    """

    every: int = 1
    start: Annotated[str | None, "--from"] = None
    end: Annotated[str | None, "--to"] = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"--every is {self.every}; expected 1 or more")
        start_s, end_s = _seconds("--from", self.start, 0.0), _seconds("--to", self.end, math.inf)
        if not start_s < end_s:
            raise ValueError(f"--to is {self.end}; expected a time after --from {start_s:g} s")

    @property
    def range(self) -> FrameRange:
        """Return the frames of a video that are read."""
        return FrameRange(
            every=self.every,
            start_s=_seconds("--from", self.start, 0.0),
            end_s=_seconds("--to", self.end, math.inf),
        )


def first_given(options: DrawingOptions | StreamOptions) -> str:
    """Return the first option that is not at its default; empty if all are."""
    fields = dataclasses.fields(options)
    names = [field.name for field in fields if getattr(options, field.name) != field.default]
    return f"--{names[0].replace('_', '-')}" if names else ""


def _seconds(option: str, text: str | None, default: float) -> float:
    """Return a time such as 90, 1:30 or 0:01:30.5 in seconds.

    Raises:
        ValueError: If it is none.
    """
    if text is None:
        return default
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{option} is {quoted(text)}; expected seconds or hours:minutes:seconds, such as 90, "
            "1:30 or 0:01:30.5"
        )
    hours, minutes, seconds = match.groups("0")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingOptions:
    """How poses are drawn.

    Attributes:
        keypoint_threshold: Minimum score 0..1 of the keypoints that are drawn; text outputs have
            all.
        line_width: Width of the limbs in pixels; by default about 1/50 of each person's size.
        draw_boxes: Draw the person boxes (default: of tracked people).
        draw_labels: Write the people's scores, and the ids of tracked people (default: only these).
        black_background: Draw on black instead of on the image.
        trails: Draw the paths of tracked people over this many seconds.
        hide: Hide the faces, the heads or the whole people in what is drawn, each filled with one
            color before anything is written; the detector runs on every frame, sound is left out.
        show: Show the drawings in a window while they are made; an image stays until a key is
            pressed. q, Esc or closing the window end the run as Ctrl-C does.

    Raises:
        ValueError: If a number is out of range.
    """

    keypoint_threshold: float = DRAWN_JOINT_SCORE
    line_width: float | None = None
    draw_boxes: bool | None = None
    draw_labels: bool | None = None
    black_background: bool = False
    trails: float | None = None
    hide: What | None = None
    show: bool = False

    def __post_init__(self) -> None:
        threshold, width, trails = self.keypoint_threshold, self.line_width, self.trails
        if not 0 <= threshold <= 1:
            raise ValueError(f"--keypoint-threshold is {threshold:g}; expected a number 0..1")
        if width is not None and not 0 < width <= _MAX_LINE_WIDTH_PX:
            raise ValueError(
                f"--line-width is {width:g}; expected a number over 0, at most {_MAX_LINE_WIDTH_PX}"
            )
        if trails is not None and not trails > 0:
            raise ValueError(f"--trails is {trails:g}; expected seconds, a number over 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Text outputs, any of them at once, and whether outputs are replaced.

    Attributes:
        overwrite: Replace outputs that exist. Otherwise a file that an option names must not exist,
            and drawings get a number added to their names.
        json: File for the poses as COCO keypoint results: a list with one record per person. Images
            named by a number that no other input has (000000000139.jpg) also get the image_id that
            COCO's tools require.
        csv: File for the poses as CSV: one row per person, frame and keypoint.
        jsonl: File for the poses as JSON lines, one per frame; - is standard output.
        openpose: Folder for the poses as OpenPose JSON, one file per frame.
        openpose_order: Keypoint order of --openpose. The neck is the midpoint of the shoulders; the
            feet of BODY_25 are 0.

    Raises:
        ValueError: If an option has no effect without another one, or "-" is given where only a
            file can be written.
    """

    overwrite: bool = False
    json: Path | None = None
    csv: Path | None = None
    jsonl: str | None = None
    openpose: Path | None = None
    openpose_order: Order = "BODY_25"

    def __post_init__(self) -> None:
        if self.openpose is None and self.openpose_order != "BODY_25":
            raise ValueError(
                f"--openpose-order {self.openpose_order} is about --openpose; expected both"
            )
        for option, path in (("--json", self.json), ("--csv", self.csv)):
            if str(path) == STANDARD_OUTPUT:
                raise ValueError(f"{option} is -; expected a file (--jsonl - is standard output)")

    def files(self) -> dict[str, Path | None]:
        """Return the files to write, by the option that names them; None where it is not used."""
        jsonl = Path(self.jsonl) if self.jsonl not in (None, STANDARD_OUTPUT) else None
        return {"--json": self.json, "--csv": self.csv, "--jsonl": jsonl}

    def check_skeleton(self, skeleton: Skeleton) -> None:
        """Check that the outputs can describe a skeleton; see ``openpose.check_skeleton``."""
        if self.openpose is not None:
            openpose.check_skeleton(skeleton, self.openpose_order)

    def folders(self) -> dict[str, Path]:
        """Return the folders to write into, by the option that names them."""
        return {"--openpose": self.openpose} if self.openpose is not None else {}
