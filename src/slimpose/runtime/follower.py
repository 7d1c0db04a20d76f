"""Pose tracking in the frames of one or more cameras: detector, poses, ids and smoothing."""

from __future__ import annotations

import dataclasses
import logging
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, PersonScores, Size
from slimpose.fields import check_count
from slimpose.interpreter_end import finished_at_exit
from slimpose.media.frame import Frame
from slimpose.media.images import check_image
from slimpose.poses import Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import ImageBoxes
from slimpose.runtime.everyone import EVERYONE_SCORE, Everyone, crowd_poses
from slimpose.runtime.one_stage import without_boxes
from slimpose.runtime.people_limits import PeopleLimits, largest_people
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.preview import ImagePreview
from slimpose.runtime.timing import StageTimes
from slimpose.tracking.assignment import assign
from slimpose.tracking.boxes import VISIBLE_SCORE
from slimpose.tracking.motion_gate import MotionGate
from slimpose.tracking.smoothing import DEFAULT_ONE_EURO, OneEuroSettings, PoseSmoother
from slimpose.tracking.tracker import ExpectedPeople, Origin, Tracker
from slimpose.tracking.tracks import DEFAULT_TRACKER, SLOW_FRAME_S, NewIds, TrackerSettings

_UNFOLLOWED_FRAMES = 5
_log = logging.getLogger(__name__)

STAGES = ("detect", "crop", "pose", "track")
_SAME_BOX_IOU = 0.5
"""A detected and an expected box with this overlap become one box, midway between them."""
_MAX_EXTRA_DETECTIONS = 4
"""On request the detector runs at most this many times as often as it does anyway."""
ScoredBoxes = tuple[Boxes, PersonScores]
_FOLLOWED_PER_SHOWN = 2
"""Times ``max_people`` that people are followed: they keep their ids where their order changes."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Camera:
    """The state of one camera."""

    tracker: Tracker
    smoother: PoseSmoother | None
    motion_gate: MotionGate = field(default_factory=MotionGate)
    everyone: Everyone = field(default_factory=Everyone)
    faint: list[ScoredBoxes] = field(default_factory=list)  # of the frame, for everyone only
    crowd: list[Poses] = field(default_factory=list)  # likewise
    size: Size | None = None
    timestamp_s: float = -math.inf
    is_after_gap: bool = True  # whether the frame is the first one or follows a gap
    has_detected: bool = False  # whether the detector ever ran
    frames_since: int = 0  # the last detection
    frames_left: int = 0  # until the next regular detection
    needs_detection: bool = False  # before that
    shown: set[int] = field(default_factory=set)  # ids of the people that were returned last


class Follower:
    """Tracks people through the frames of cameras.

    In each step the detector runs on the frames that are due, or that need it: a person was lost or
    fits much worse than before, something moves that no known person explains, or about a second
    has passed without a frame of the camera. All other frames use the boxes where the known people
    are expected. The crops of all people of all cameras go through the pose model in one batch.

    A follower can be pickled and used in forked processes, with its tracks.

    Args:
        pipeline: The models; it must have a detector.
        cameras: Number of cameras.
        detect_every: Run the detector at least on every N-th frame of a camera; on every frame
            where they are about a second apart. Higher values save time; new people may be found
            later. A one-stage model runs on every frame.
        smooth: Whether the keypoints of tracked people are smoothed over time.
        track: Whether people get ids. Without tracking each frame is processed on its own: the
            detector runs on every frame, all ids are -1, nothing is smoothed.
        tracking: When tracks are started, lost and ended.
        smoothing: Strength of the smoothing.
        limits: Which people are kept, for each camera; by default those of the pipeline.
        find_everyone: Whether ``everyone`` is filled. The detector then runs on every frame.

    Attributes:
        finds_everyone: As given.
        everyone: With ``find_everyone``, for each frame of the last step all people who may be in
            it, for hiding them: the returned ones before smoothing, those not confirmed or over the
            limits, faint detections, and people who were found shortly before. Faint ones and those
            without a pose in this frame have a person score of 0.
        limits: As given; may be changed between steps.
        last_ms: Time of each stage of the last step: "detect", "crop", "pose", "track".
        detections: Number of frames that the detector has processed.

    Raises:
        ValueError: If the pipeline has no detector, a number is less than 1, or there are limits
            for another number of cameras.

    >>> import numpy as np, slimpose
    >>> follower = slimpose.Follower(slimpose.load())
    >>> image = np.zeros((480, 640, 3), np.uint8)
    >>> (poses,) = follower.step([slimpose.Frame(image=image, timestamp_s=0.0)])
    >>> poses.ids.tolist()
    []
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
        limits: Sequence[PeopleLimits] | None = None,
        find_everyone: bool = False,
    ) -> None:
        self._estimator = pipeline.estimator
        if pipeline.detector is None and not self._estimator.finds_people:
            raise ValueError("this pipeline has no detector; a Follower needs one")
        for name, count in (("cameras", cameras), ("detect_every", detect_every)):
            check_count(count, name)
        self.limits = [pipeline.limits] * cameras if limits is None else list(limits)
        if len(self.limits) != cameras:
            raise ValueError(
                f"there are limits for {len(self.limits)} cameras; expected {cameras}, one each"
            )
        self._detector: Detector | None = (
            None if self._estimator.finds_people else pipeline.detector
        )
        self._detect_every, self.finds_everyone = detect_every, find_everyone
        self._track = track
        self._tracking, self._smoothing, self._smooth = tracking, smoothing, smooth
        self._numbers = NewIds()
        self._unfollowed: int | None = 0  # frames; None after one was followed
        self._cameras = [self._new_camera() for _ in range(cameras)]
        self.last_ms = StageTimes(*STAGES).totals_ms()
        self.detections = 0
        self.everyone: list[Poses] = []

    @finished_at_exit()
    def step(self, frames: Sequence[Frame]) -> list[Poses]:
        """Return the people of each frame, in the order of the frames, with ids and smoothed.

        Ids are 1, 2, 3, ...; no two people of any cameras share one. A new person is returned two
        frames later, when it is confirmed; at once where frames are about a second apart.

        Args:
            frames: At most one of each camera; cameras without a new frame are left out.

        Raises:
            ImageError: If an image is not RGB uint8.
            ValueError: If a camera is unknown or occurs twice, or its time does not increase.
        """
        self._check(frames)
        times = StageTimes(*STAGES)
        for frame in frames:
            if self._cameras[frame.camera].size not in (None, Size(*frame.image.shape[:2])):
                _log.info("camera %d: its frames have another size; new ids", frame.camera)
                self.forget(frame.camera)
        expected = [self._expected(frame) for frame in frames]
        times.lap("track")
        is_detected = self._schedule_detections(frames)
        boxes: list[tuple[ImageBoxes, np.ndarray]] = []
        for frame, people, detect in zip(frames, expected, is_detected, strict=True):
            known = (frame.image, people.boxes_image, people.box_scores), people.origins
            boxes.append(self._detect(frame, people) if detect else known)
        times.lap("detect")
        crops = self._estimator.crop(
            [
                self._with_faint(frame, image_boxes)
                for frame, (image_boxes, _) in zip(frames, boxes, strict=True)
            ]
        )
        times.lap("crop")
        conf = [self.limits[frame.camera].conf for frame in frames]
        all_poses = self._estimator.estimate_crops(
            dataclasses.replace(crops, score_thresholds=conf)
        )
        times.lap("pose")
        results, self.everyone = [], []
        for frame, found, (_, origins), detect in zip(
            frames, all_poses, boxes, is_detected, strict=True
        ):
            camera = self._cameras[frame.camera]
            first_faint = len(found) - sum(len(scores) for _, scores in camera.faint)
            poses = found[:first_faint]
            people = self._update_tracks(frame, poses, origins, detector_ran=detect)
            results.append(dataclasses.replace(people, preview=ImagePreview(frame.image)))
            if self.finds_everyone:
                expected_poses = camera.tracker.unobserved(frame.timestamp_s)
                self.everyone.append(
                    camera.everyone.update(
                        frame.timestamp_s,
                        poses,
                        faint=[found[first_faint:], *camera.crowd],
                        expected=expected_poses,
                    )
                )
        times.lap("track")
        self.last_ms = times.totals_ms()
        self._report_unfollowed(all_poses, results)
        return results

    def _report_unfollowed(self, found: Sequence[Poses], followed: Sequence[Poses]) -> None:
        """Warn once where people are found, and their keypoints score too low to follow anyone."""
        if any(map(len, followed)):
            self._unfollowed = None
        best = max((float(poses.scores.max()) for poses in found if len(poses)), default=1.0)
        if self._unfollowed is None or best >= VISIBLE_SCORE:
            return
        self._unfollowed += 1
        if self._unfollowed == _UNFOLLOWED_FRAMES:
            _log.warning(
                "people are found in the frames, and none can be followed: their keypoints score "
                "up to %.2f only (a model with little training?)",
                best,
            )

    def forget(self, camera: int) -> None:
        """Reset a camera after a gap or a cut; its people get new ids.

        ``step`` does so itself when the size of the camera's frames changes.

        Raises:
            ValueError: If there is no such camera.
        """
        self._check_camera(camera)
        self._cameras[camera] = self._new_camera()

    def save_state(self) -> bytes:
        """Return the tracks of all cameras, without the models, for ``restore_state``."""
        return pickle.dumps((self._cameras, self._numbers, self.detections))

    def restore_state(self, state: bytes) -> None:
        """Go on where another follower of the same models and settings was when it was saved.

        The following frames get exactly the results that they would have had there. Like any
        pickle, a state from a source that is not trusted can run code.

        Raises:
            ValueError: If the state is that of another number of cameras.
        """
        cameras, numbers, detections = pickle.loads(state)
        if len(cameras) != len(self._cameras):
            raise ValueError(
                f"the state is that of {len(cameras)} cameras; expected {len(self._cameras)}"
            )
        self._cameras, self._numbers, self.detections = cameras, numbers, detections

    def set_smooth(self, smooth: bool) -> None:
        """Switch the smoothing of keypoints on or off; ids stay as they are."""
        self._smooth = smooth
        for camera in self._cameras:
            camera.smoother = PoseSmoother(self._smoothing) if smooth else None

    def _new_camera(self) -> _Camera:
        tracker = Tracker(
            self._estimator.session.info.skeleton, settings=self._tracking, new_ids=self._numbers
        )
        return _Camera(
            tracker=tracker, smoother=PoseSmoother(self._smoothing) if self._smooth else None
        )

    def _check_camera(self, camera: int) -> None:
        if not 0 <= camera < len(self._cameras):
            raise ValueError(
                f"there is no camera {camera}; expected 0..{len(self._cameras) - 1} (see cameras=)"
            )

    def _check(self, frames: Sequence[Frame]) -> None:
        """Check all frames before the state of any camera changes."""
        for frame in frames:
            self._check_camera(frame.camera)
            check_image(frame.image)
            last_s = self._cameras[frame.camera].timestamp_s
            if not (math.isfinite(frame.timestamp_s) and frame.timestamp_s > last_s):
                raise ValueError(
                    f"camera {frame.camera}: the time went from {last_s:g} s to "
                    f"{frame.timestamp_s:g} s; expected it to increase "
                    "(forget(camera) resets a camera)"
                )
        if len({frame.camera for frame in frames}) < len(frames):
            raise ValueError(
                f"cameras {[frame.camera for frame in frames]}: expected at most one frame of each "
                "per step"
            )

    def _expected(self, frame: Frame) -> ExpectedPeople:
        """Where the camera's people should be; records whether the frame needs the detector."""
        camera, size = self._cameras[frame.camera], Size(*frame.image.shape[:2])
        camera.is_after_gap = frame.timestamp_s - camera.timestamp_s > SLOW_FRAME_S
        camera.size, camera.timestamp_s = size, frame.timestamp_s
        expected = camera.tracker.expected(frame.timestamp_s, size)
        if self._track:
            # Where as many people are known as are kept, the regular detections find others.
            is_full = len(camera.shown) >= (self.limits[frame.camera].max_people or math.inf)
            has_motion = not is_full and camera.motion_gate.has_unexplained_motion(
                frame.image, expected.boxes_image
            )
            camera.needs_detection |= camera.tracker.needs_detection or has_motion
        return expected

    def _schedule_detections(self, frames: Sequence[Frame]) -> list[bool]:
        """Select the frames that the detector runs on.

        Always a camera's first frame, and the first after a gap. Of those that are due, and then of
        those that need it, only as many as spread the work of the detector evenly over the steps.
        """
        if not self._track or self._detector is None or self.finds_everyone:
            return [True] * len(frames)
        candidates: list[tuple[int, int]] = []
        selected = [False] * len(frames)
        for index, frame in enumerate(frames):
            camera = self._cameras[frame.camera]
            camera.frames_since += 1
            camera.frames_left -= 1
            may_request = camera.frames_since * _MAX_EXTRA_DETECTIONS >= self._detect_every
            if camera.is_after_gap:
                selected[index] = True
            elif camera.frames_left <= 0:
                candidates.append((camera.frames_left, index))
            elif camera.needs_detection and may_request:
                candidates.append((self._detect_every - camera.frames_since, index))
        budget = max(math.ceil(len(self._cameras) / self._detect_every), 1) - sum(selected)
        for _, index in sorted(candidates)[: max(budget, 0)]:
            selected[index] = True
        return selected

    def _detect(self, frame: Frame, expected: ExpectedPeople) -> tuple[ImageBoxes, np.ndarray]:
        """Detected and expected boxes with their origins; where both agree, one box in between."""
        camera = self._cameras[frame.camera]
        self.detections += 1
        if self._detector is None:  # the people are found with their poses
            return without_boxes(frame.image), np.zeros(0, np.int64)
        boxes, scores = self._detected_boxes(self._detector, frame)
        phase = frame.camera * self._detect_every // len(self._cameras)  # spreads the cameras
        camera.frames_left = self._detect_every - (0 if camera.has_detected else phase)
        camera.has_detected, camera.needs_detection, camera.frames_since = True, False, 0
        pairs = assign(geometry.box_iou(boxes, expected.boxes_image), _SAME_BOX_IOU)
        merged = boxes.copy()
        for row, known in pairs:
            if expected.origins[known] == Origin.TRACKED:
                merged[row] = (boxes[row] + expected.boxes_image[known]) / 2
        unmatched = np.setdiff1d(
            np.arange(len(expected.boxes_image)), [known for _, known in pairs]
        )
        merged = np.concatenate([merged, expected.boxes_image[unmatched]])
        scores = np.concatenate([scores, expected.box_scores[unmatched]])
        origins = np.concatenate(
            [np.full(len(boxes), Origin.DETECTED, np.int64), expected.origins[unmatched]]
        )
        is_known = origins != Origin.DETECTED
        is_known[[row for row, _ in pairs]] = True
        most = self.limits[frame.camera].max_people
        followed = most and most * (_FOLLOWED_PER_SHOWN if self._track else 1)
        kept = largest_people(merged, followed, preferred=is_known)
        if self.finds_everyone:
            camera.faint.append((np.delete(merged, kept, axis=0), np.delete(scores, kept)))
        return (frame.image, merged[kept], scores[kept]), origins[kept]

    def _detected_boxes(self, detector: Detector, frame: Frame) -> ScoredBoxes:
        """The detected boxes and their scores; faint ones are only kept for ``everyone``."""
        conf = self.limits[frame.camera].conf
        if not self.finds_everyone:
            return detector(frame.image, **({} if conf is None else {"score_threshold": conf}))
        threshold = detector.score_threshold if conf is None else conf
        boxes, scores, is_full = detector.find_all(
            frame.image, score_threshold=min(threshold, EVERYONE_SCORE)
        )
        is_kept, camera = scores > threshold, self._cameras[frame.camera]
        camera.faint = [(boxes[~is_kept], scores[~is_kept])]
        skeleton = self._estimator.session.info.skeleton
        camera.crowd = [crowd_poses(detector, frame.image, boxes, skeleton)] if is_full else []
        return boxes[is_kept], scores[is_kept]

    def _with_faint(self, frame: Frame, image_boxes: ImageBoxes) -> ImageBoxes:
        """The boxes, and behind them those for ``everyone`` only."""
        image, boxes, scores = image_boxes
        faint = self._cameras[frame.camera].faint
        return (
            image,
            np.concatenate([boxes, *(one for one, _ in faint)]),
            np.concatenate([scores, *(one for _, one in faint)]),
        )

    def _largest_poses(self, frame: Frame, poses: Poses) -> Poses:
        """The largest people; those of the last frame are preferred."""
        most, camera = self.limits[frame.camera].max_people, self._cameras[frame.camera]
        if most is not None:
            shown = np.isin(poses.ids, list(camera.shown)) if self._track else None
            poses = poses[largest_people(poses.boxes_image, most, preferred=shown)]
        camera.shown = set(poses.ids.tolist())
        return poses

    def _update_tracks(
        self, frame: Frame, poses: Poses, origins: np.ndarray, *, detector_ran: bool
    ) -> Poses:
        """Give ids to the poses of a frame, smooth them, and return those of the largest people."""
        if not self._track:
            return self._largest_poses(frame, poses)
        camera = self._cameras[frame.camera]
        if self._detector is None:
            origins = np.full(len(poses), Origin.DETECTED, np.int64)
        tracked = camera.tracker.update(
            poses, frame.timestamp_s, image=frame.image, origins=origins, detector_ran=detector_ran
        )
        if detector_ran:
            expected = camera.tracker.expected(frame.timestamp_s, Size(*frame.image.shape[:2]))
            camera.motion_gate.detector_ran(frame.image, expected.boxes_image, frame.timestamp_s)
        if camera.smoother is not None:
            tracked = camera.smoother(tracked, frame.timestamp_s)
        return self._largest_poses(frame, tracked)
