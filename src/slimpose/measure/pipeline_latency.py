"""How long the whole way from a picture to people with ids takes: decode, detect, crop, pose (DARK is in it), track."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from slimpose.measure.synthetic_video import GroundTruthDetector, SyntheticVideo
from slimpose.media.frame import Frame
from slimpose.poses import Poses
from slimpose.runtime.estimator import CropBatch, PoseEstimator
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.timing import CallTimes

_FPS = 25.0
"""Of the film, for whoever follows people: not how fast it is gone through."""
STAGES: tuple[str, ...] = ("decode", "detect", "crop", "pose", "track")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTimes:
    """What a run through a film gave.

    Attributes:
        step: A step: one picture of every camera.
        stages_ms: Mean milliseconds a step by stage; the detector's spread over the steps.
        people: Mean number of people looked at in a picture.
        detections: Share of the pictures that the detector looked at; it is called on demand too.
        fps: Pictures a second of each camera, were they there at once.
    """

    step: CallTimes
    stages_ms: Mapping[str, float]
    people: float
    detections: float
    fps: float


def time_pipeline(
    pose: Session,
    detector: Session,
    film: SyntheticVideo,
    *,
    cameras: int = 1,
    detect_every: int = 8,
    steps: int = 10_000,
    seconds: float = 3.0,
    clock_s: Callable[[], float] = time.perf_counter,
) -> PipelineTimes:
    """Go through a film, once for every camera, and return the times.

    Args:
        pose: A pose model.
        detector: A person detector; its work is done, its answer replaced by the film's boxes.
        film: What all cameras see, each at another place of it.
        cameras: How many.
        detect_every: See ``Follower``.
        steps: Timed steps at most.
        seconds: No further step begins after so long; warm-up (one interval of the detector) not
            included.
        clock_s: The time.
    """
    finder = GroundTruthDetector(detector)
    counted = _Counted(pose)
    follower = Follower(
        Pipeline(estimator=counted, detector=finder),
        cameras=cameras,
        detect_every=detect_every,
        smooth=True,
    )
    warm_up = max(3, detect_every)
    step_ms: list[float] = []
    total_ms = dict.fromkeys(STAGES, 0.0)
    began_s, looked = clock_s(), 0
    for step in range(warm_up + steps):
        if step == warm_up:
            began_s, counted.people, looked = clock_s(), 0, follower.detections
        if step > warm_up and clock_s() - began_s >= seconds:
            break
        started_s = clock_s()
        places = [step + camera * 5 for camera in range(cameras)]
        images = [film.picture(place) for place in places]
        decoded_s = clock_s()
        finder.boxes_image = film.boxes_image[
            places[0] % len(film.boxes_image)
        ]  # a few px off for other cameras
        follower.step(
            [
                Frame(camera=n, image=image, timestamp_s=step / _FPS)
                for n, image in enumerate(images)
            ]
        )
        if step >= warm_up:
            step_ms.append(1e3 * (clock_s() - started_s))
            total_ms["decode"] += 1e3 * (decoded_s - started_s)
            for stage, ms in follower.last_ms.items():
                total_ms[stage] += ms
    done = len(step_ms)
    return PipelineTimes(
        step=CallTimes.of(step_ms),
        stages_ms={stage: ms / done for stage, ms in total_ms.items()},
        people=counted.people / (done * cameras),
        detections=(follower.detections - looked) / (done * cameras),
        fps=1e3 * done / max(sum(step_ms), 1e-9),
    )


class _Counted(PoseEstimator):
    """A pose model that counts the people it looks at."""

    people = 0

    def estimate_cut(self, cut: CropBatch) -> list[Poses]:
        """See ``PoseEstimator``."""
        self.people += len(cut.crops)
        return super().estimate_crops(cut)


def random_crops(session: Session, count: int) -> np.ndarray:
    """Return crops of noise for a model, always the same."""
    return np.random.default_rng(0).integers(0, 256, (count, *session.info.size, 3), dtype=np.uint8)
