"""What determines the results of ``slimpose bulk``: models, tracking, which frames."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import slimpose
from slimpose.media.frame import FrameRange
from slimpose.runtime import models
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.tiles import Tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSettings:
    """Settings of a run; the fields are named as the options of ``slimpose predict``.

    Attributes:
        model: Pose model: a shipped name, or a path that every worker can read.
        detector: Person detector, likewise.
        threads: CPU threads of each worker.
        conf: Minimum score 0..1 of a person's box; None for the detector's own.
        max_people: At most this many people per image.
        tiles: As in ``slimpose.load``.
        backend: As in ``slimpose.load``.
        precision: As in ``slimpose.load``.
        detect_every: Detector at least on every N-th frame of a video.
        track: Whether people in videos get ids.
        smooth: Whether their keypoints are smoothed.
        every: Only every N-th frame of videos.
        fps: Frames per second of videos that are processed, instead of ``every``; None for all.
        start_s: Start of videos in seconds.
        end_s: End of videos in seconds.
        piece_s: Seconds of video per Parquet file; after each a stopped run can go on.
        overlap_s: Where given, the pieces of a video are processed at once, each from this many
            seconds before its start; otherwise one after another.
    """

    model: str = models.DEFAULT_POSE
    detector: str = models.DEFAULT_DETECTOR
    threads: int = 1
    conf: float | None = None
    max_people: int | None = None
    tiles: Tiles = "off"
    backend: str = "onnxruntime"
    precision: str | None = None
    detect_every: int = 8
    track: bool = True
    smooth: bool = True
    every: int = 1
    fps: float | None = None
    start_s: float = 0.0
    end_s: float = math.inf
    piece_s: float = 300.0
    overlap_s: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.piece_s < math.inf:
            raise ValueError(f"piece_s is {self.piece_s:g}; expected seconds, 1 or more")
        if self.overlap_s is not None and not 0 < self.overlap_s <= self.piece_s:
            raise ValueError(
                f"overlap_s is {self.overlap_s:g}; expected seconds over 0, at most piece_s "
                f"({self.piece_s:g})"
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps is {self.fps:g}; expected a number over 0")
        if self.fps is not None and self.every != 1:
            raise ValueError(f"fps is {self.fps:g} and every is {self.every}; expected one of them")

    def load(self) -> Pipeline:
        """Open the models."""
        return slimpose.load(
            self.model,
            self.detector,
            threads=self.threads,
            conf=self.conf,
            max_people=self.max_people,
            tiles=self.tiles,
            backend=self.backend,
            precision=self.precision,
        )

    def follower(self, pipeline: Pipeline) -> Follower:
        """Return a follower for a video."""
        return Follower(
            pipeline, detect_every=self.detect_every, track=self.track, smooth=self.smooth
        )

    def frames(self, *, video_fps: float) -> FrameRange:
        """Return the frames of a video that are processed."""
        every = self.every if self.fps is None else max(1, round(video_fps / self.fps))
        return FrameRange(every=every, start_s=self.start_s, end_s=self.end_s)

    def as_json(self) -> dict[str, Any]:
        """Return what the results depend on: not the threads; the models by their contents."""
        values = {**dataclasses.asdict(self), "end_s": str(self.end_s)}
        del values["threads"]
        values["model_sha256"] = _sha256(self.model)
        values["detector_sha256"] = _sha256(self.detector)
        return values

    def digest(self) -> str:
        """Return a short hash of ``as_json``."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]


def _sha256(model: str) -> str:
    return hashlib.sha256(models.resolve(model).read_bytes()).hexdigest()
