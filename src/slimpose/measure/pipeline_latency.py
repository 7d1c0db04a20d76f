"""End-to-end latency on a synthetic video: decode, detect, crop, pose (with DARK), track."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from slimpose.measure.synthetic_video import GroundTruthDetector, SyntheticVideo
from slimpose.media.frame import Frame
from slimpose.poses import Poses
from slimpose.runtime.estimator import CropBatch, PoseEstimator
from slimpose.runtime.follower import STAGES as FOLLOWER_STAGES
from slimpose.runtime.follower import Follower
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.timing import CallTimes, StageTimes

STAGES: tuple[str, ...] = ("decode", *FOLLOWER_STAGES)
_FPS = 25.0
"""Frame rate of the timestamps; the video is processed as fast as possible."""
_CAMERA_OFFSET = 5
"""Frames by which the cameras are apart in the video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTimes:
    """Times of a run through a video.

    Attributes:
        step: Time of a step: one frame of every camera.
        stages_ms: Mean milliseconds per step by stage; the detector's time is spread over steps.
        people_per_frame: Mean number of people processed per frame.
        detector_share: Share of the frames on which the detector ran; it also runs on demand.
        fps: Frames per second of each camera, if frames were always available.
    """

    step: CallTimes
    stages_ms: Mapping[str, float]
    people_per_frame: float
    detector_share: float
    fps: float


def time_pipeline(
    pose: Session,
    detector: Session | None,
    video: SyntheticVideo,
    *,
    cameras: int = 1,
    detect_every: int = 8,
    steps: int = 10_000,
    seconds: float = 3.0,
    clock_s: Callable[[], float] = time.perf_counter,
) -> PipelineTimes:
    """Process a video, once for every camera, and return the times of at most ``steps`` steps.

    All cameras show the video, each at another frame of it. The detector runs (``detect_every`` as
    in ``Follower``), and its boxes are replaced by the video's. No further step starts after
    ``seconds`` by the clock; warm-up (one interval of the detector) is not included. A one-stage
    model runs without the detector, and finds the people itself.
    """
    finds_people = pose.info.task == "one-stage"
    estimator = _CountingOneStage(pose) if finds_people else _CountingEstimator(pose)
    known_boxes = None if finds_people or detector is None else GroundTruthDetector(detector)
    pipeline = Pipeline(estimator=estimator, detector=known_boxes)
    follower = Follower(pipeline, cameras=cameras, detect_every=detect_every, smooth=True)
    warm_up = max(3, detect_every)
    step_ms: list[float] = []
    stages = StageTimes(*STAGES)
    started_s, detections_before = clock_s(), 0
    for step in range(warm_up + steps):
        if step == warm_up:
            started_s, estimator.people, detections_before = clock_s(), 0, follower.detections
        if step > warm_up and clock_s() - started_s >= seconds:
            break
        step_started_s = clock_s()
        indices = [step + camera * _CAMERA_OFFSET for camera in range(cameras)]
        frames = [
            Frame(camera=camera, image=video.frame(index), timestamp_s=step / _FPS)
            for camera, index in enumerate(indices)
        ]
        decoded_s = clock_s()
        if known_boxes is not None:
            # The first camera's boxes, which are a few pixels off for the others.
            known_boxes.boxes_image = video.boxes_image[indices[0] % len(video.boxes_image)]
        follower.step(frames)
        if step >= warm_up:
            step_ms.append(1e3 * (clock_s() - step_started_s))
            stages.add("decode", 1e3 * (decoded_s - step_started_s))
            stages.add_all(follower.last_ms)
    frame_count = len(step_ms) * cameras
    return PipelineTimes(
        step=CallTimes.of(step_ms),
        stages_ms={stage: durations.mean_ms for stage, durations in stages.stages.items()},
        people_per_frame=estimator.people / frame_count,
        detector_share=(follower.detections - detections_before) / frame_count,
        fps=1e3 * len(step_ms) / max(sum(step_ms), 1e-9),
    )


class _CountingEstimator(PoseEstimator):
    """A pose model that counts the people it processes."""

    people = 0

    def estimate_crops(self, batch: CropBatch) -> list[Poses]:
        """See ``PoseEstimator``."""
        self.people += len(batch.crops)
        return super().estimate_crops(batch)


class _CountingOneStage(OneStageEstimator):
    """A one-stage model that counts the people it finds."""

    people = 0

    def estimate_crops(self, batch: CropBatch) -> list[Poses]:
        """See ``OneStageEstimator``."""
        found = super().estimate_crops(batch)
        self.people += sum(map(len, found))
        return found


def random_crops(session: Session, count: int) -> np.ndarray:
    """Return random crops (count, H, W, 3) for a model, the same ones every time."""
    return np.random.default_rng(0).integers(0, 256, (count, *session.info.size, 3), dtype=np.uint8)


@contextmanager
def opencv_threads_restored() -> Iterator[None]:
    """Restore OpenCV's number of threads after a block that changes it."""
    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)
