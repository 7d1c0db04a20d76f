"""People followed through the frames of one or several cameras: detector, poses, ids, smoothing, one call a step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.media.images import check_image
from slimpose.poses import Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import ImageBoxes
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.timing import StageTimes
from slimpose.runtime.tracking.assignment import assign
from slimpose.runtime.tracking.motion_gate import MotionGate
from slimpose.runtime.tracking.smoothing import DEFAULT_ONE_EURO, OneEuroSettings, PoseSmoother
from slimpose.runtime.tracking.tracker import ExpectedPeople, Origin, Tracker
from slimpose.runtime.tracking.tracks import DEFAULT_TRACKER, TrackerSettings

STAGES = ("detect", "crop", "pose", "track")
_SAME_BOX_IOU = 0.5
"""A detected and an expected box that overlap so much are looked at once, halfway between them."""
_DEMAND_GAP_SHARE = 4
"""The detector runs on demand at most this many times as often as it does anyway."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraFrame:
    """One picture of one camera.

    Attributes:
        camera: Which camera, from 0.
        image: RGB uint8.
        timestamp_s: When it was taken; increases from frame to frame of a camera, not necessarily
            evenly.
    """

    camera: int
    image: Image
    timestamp_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Camera:
    """What is remembered of one camera."""

    tracker: Tracker
    smoother: PoseSmoother | None
    watch: MotionGate = field(default_factory=MotionGate)
    size: Size | None = None
    timestamp_s: float = -math.inf
    looked: bool = False  # whether the detector ever did
    frames_since: int = 0  # it last did
    wait: int = 0  # frames until it is due again
    demanded: bool = False


class Follower:
    """Follows people through the frames of cameras.

    In each step the detector looks at the frames whose turn it is, or that demand it: somebody was
    lost or is seen much worse, or something moves that nobody accounts for. All others take their
    boxes from where the people they know should be. The crops of all people of all cameras go
    through the pose model in one batch.

    Args:
        pipeline: The models; it must have a detector.
        cameras: How many cameras there are.
        detect_every: The detector looks at least at every N-th frame of a camera; 1 is every
            frame.
        smooth: Whether joints are smoothed over time (of people with an id).
        track: Whether people get ids. Without, every frame stands alone: the detector looks at
            each, all ids are -1, nothing is smoothed.
        rules: When tracks are born, lost and ended.
        smoothing: How strongly joints are smoothed.

    Attributes:
        last_ms: How long each stage of the last step took: "detect", "crop", "pose", "track".
        detections: How many frames the detector has looked at.

    Raises:
        ValueError: If the pipeline has no detector, or a number is under 1.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        cameras: int = 1,
        detect_every: int = 8,
        smooth: bool = True,
        track: bool = True,
        tracking: TrackerSettings = DEFAULT_TRACKER,
        smoothing: OneEuroSettings = DEFAULT_ONE_EURO,
    ) -> None:
        if pipeline.detector is None:
            raise ValueError("this pipeline has no detector; following people needs one")
        for name, count in (("cameras", cameras), ("detect_every", detect_every)):
            if count < 1:
                raise ValueError(f"{name} is {count}; expected 1 or more")
        self._detector: Detector = pipeline.detector
        self._estimator = pipeline.estimator
        self._detect_every = detect_every
        self._track = track
        self._rules, self._smoothing, self._smooth = tracking, smoothing, smooth
        self._numbers = itertools.count(1)
        self._cameras = [self._new_camera() for _ in range(cameras)]
        self.last_ms = StageTimes(*STAGES).totals_ms()
        self.detections = 0

    def step(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """Return the people of each frame, in the frames' order, ids set and points smoothed.

        Ids are 1, 2, 3, ... and no two people of any cameras share one. A new person is told of
        after two frames more.

        Args:
            frames: At most one of each camera; cameras without a new frame are left out.

        Raises:
            ImageError: If a picture is no RGB uint8 image.
            ValueError: If a camera is unknown or stands twice, or its time does not advance.
        """
        self._check(frames)
        times = StageTimes(*STAGES)
        for frame in frames:
            if self._cameras[frame.camera].size not in (None, Size(*frame.image.shape[:2])):
                self.forget(frame.camera)
        expected = [self._expected(frame) for frame in frames]
        times.lap("track")
        turns = self._turns(frames)
        found: list[tuple[ImageBoxes, np.ndarray]] = []
        for frame, there, turn in zip(frames, expected, turns, strict=True):
            found.append(
                self._look(frame, there) if turn else (_carried(frame, there), there.origins)
            )
        times.lap("detect")
        cut = self._estimator.crop([looked_at for looked_at, _ in found])
        times.lap("crop")
        all_poses = self._estimator.estimate_crops(cut)
        times.lap("pose")
        results = [
            self._finish(frame, poses, origins, detector_ran=turn)
            for frame, poses, (_, origins), turn in zip(
                frames, all_poses, found, turns, strict=True
            )
        ]
        times.lap("track")
        self.last_ms = times.totals_ms()
        return results

    def forget(self, camera: int) -> None:
        """Start a camera anew: it came back after a gap, or its picture changed its size (which ``step`` sees itself).

        Its people get new ids. Raises ValueError if there is no such camera.
        """
        self._check_camera(camera)
        self._cameras[camera] = self._new_camera()

    def _new_camera(self) -> _Camera:
        tracker = Tracker(
            self._estimator.session.info.skeleton, rules=self._rules, numbers=self._numbers
        )
        return _Camera(
            tracker=tracker, smoother=PoseSmoother(self._smoothing) if self._smooth else None
        )

    def _check_camera(self, camera: int) -> None:
        if not 0 <= camera < len(self._cameras):
            raise ValueError(
                f"there is no camera {camera}; expected 0..{len(self._cameras) - 1} (see cameras=)"
            )

    def _check(self, frames: Sequence[CameraFrame]) -> None:
        """All of it before any camera takes note of its frame."""
        for frame in frames:
            self._check_camera(frame.camera)
            check_image(frame.image)
            before_s = self._cameras[frame.camera].timestamp_s
            if not (math.isfinite(frame.timestamp_s) and frame.timestamp_s > before_s):
                raise ValueError(
                    f"camera {frame.camera}: the time went from {before_s:g} s to {frame.timestamp_s:g} s; expected it "
                    "to advance (forget(camera) starts a camera anew)"
                )
        if len({frame.camera for frame in frames}) < len(frames):
            raise ValueError(
                f"cameras {[frame.camera for frame in frames]}: expected at most one frame of each a step"
            )

    def _expected(self, frame: CameraFrame) -> ExpectedPeople:
        """Where the camera's people should be; notes whether the frame demands the detector."""
        camera, size = self._cameras[frame.camera], Size(*frame.image.shape[:2])
        camera.size, camera.timestamp_s = size, frame.timestamp_s
        there = camera.tracker.expected(frame.timestamp_s, size)
        if self._track:
            changed = camera.watch.has_unexplained_motion(frame.image, there.boxes_image)
            camera.demanded |= camera.tracker.worried or changed
        return there

    def _turns(self, frames: Sequence[CameraFrame]) -> list[bool]:
        """Which frames the detector looks at.

        A camera's first always; of those that are due, and then of those that demand it, only so
        many that the detector's work is spread over the steps.
        """
        if not self._track:
            return [True] * len(frames)
        waiting: list[tuple[int, int]] = []
        turns = [False] * len(frames)
        for place, frame in enumerate(frames):
            camera = self._cameras[frame.camera]
            camera.frames_since += 1
            camera.wait -= 1
            may_demand = camera.frames_since * _DEMAND_GAP_SHARE >= self._detect_every
            if not camera.looked:
                turns[place] = True
            elif camera.wait <= 0:
                waiting.append((camera.wait, place))
            elif camera.demanded and may_demand:
                waiting.append((self._detect_every - camera.frames_since, place))
        budget = max(math.ceil(len(self._cameras) / self._detect_every), 1) - sum(turns)
        for _, place in sorted(waiting)[: max(budget, 0)]:
            turns[place] = True
        return turns

    def _look(self, frame: CameraFrame, there: ExpectedPeople) -> tuple[ImageBoxes, np.ndarray]:
        """What the detector sees together with what is expected; where both agree, one box halfway between."""
        camera = self._cameras[frame.camera]
        boxes, scores = self._detector(frame.image)
        self.detections += 1
        phase = 0 if camera.looked else frame.camera * self._detect_every // len(self._cameras)
        camera.looked, camera.demanded = True, False
        camera.frames_since, camera.wait = 0, self._detect_every - phase
        pairs = assign(geometry.box_iou(boxes, there.boxes_image), _SAME_BOX_IOU)
        between = boxes.copy()
        for row, place in pairs:
            if there.origins[place] == Origin.CARRIED:
                between[row] = (boxes[row] + there.boxes_image[place]) / 2
        unmatched = np.setdiff1d(np.arange(len(there.boxes_image)), [place for _, place in pairs])
        looked_at = (
            frame.image,
            np.concatenate([between, there.boxes_image[unmatched]]),
            np.concatenate([scores, there.box_scores[unmatched]]),
        )
        return looked_at, np.concatenate(
            [np.full(len(boxes), Origin.DETECTED, np.int64), there.origins[unmatched]]
        )

    def _finish(
        self, frame: CameraFrame, poses: Poses, origins: np.ndarray, *, detector_ran: bool
    ) -> Poses:
        if not self._track:
            return poses
        camera = self._cameras[frame.camera]
        followed = camera.tracker.update(
            poses, frame.timestamp_s, image=frame.image, origins=origins, detector_ran=detector_ran
        )
        if detector_ran:
            there = camera.tracker.expected(frame.timestamp_s, Size(*frame.image.shape[:2]))
            camera.watch.detector_ran(frame.image, there.boxes_image, frame.timestamp_s)
        return followed if camera.smoother is None else camera.smoother(followed, frame.timestamp_s)


def _carried(frame: CameraFrame, there: ExpectedPeople) -> ImageBoxes:
    return frame.image, there.boxes_image, there.box_scores
