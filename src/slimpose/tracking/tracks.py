"""One track: the state of one person over time, and the settings of the tracker."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from slimpose.poses import NOT_TRACKED, Poses, person_scores
from slimpose.tracking.boxes import fitted_box, person_size_px
from slimpose.tracking.motion_model import MotionModel, fit_shift_scale


class TrackState(enum.IntEnum):
    """State of a track."""

    TRACKED = 0
    """Confirmed and observed in the last frame."""
    NEW = 1
    """Not confirmed yet; not returned."""
    LOST = 2
    """Confirmed, not observed at present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """When tracks are started, confirmed, lost and ended.

    Similarities, qualities and OKS are 0..1. The quality of a pose is the mean score of its joints,
    weighted by the scores.

    Attributes:
        minimum_consecutive_frames: A new person gets an id after this many consecutive frames; at
            once where frames are about a second apart. Higher values suppress false detections but
            return people later.
        lost_track_buffer_s: The id of a lost person is kept for this long, and where frames are
            seconds apart at least through two of them. Higher values keep ids longer through
            occlusions but may give them to other people.
        coast_s: After a loss, the pose model runs at the expected place for this long without a
            detection. Higher values find people sooner again but cost time.
        minimum_similarity: Least similarity of a pose and a track's expected pose, over 0. Higher
            values avoid id switches but lose people who move unexpectedly.
        duplicate_oks: Two poses of a frame with a higher OKS are one person. Lower values remove
            more duplicates but may merge people close together.
        minimum_quality: Poses with a lower quality are dropped. Higher values suppress false
            detections but lose people who are hardly visible.
        confident_quality: A pose with at least this quality needs fewer detections: in the first
            frame it gets an id at once, and without a detection it may end an occlusion. Lower
            values return people sooner but also more false ones.
        unconfirmed_buffer_s: A person missed by the detector for this long is lost; three times as
            long with confident poses. Higher values bridge more missed detections but keep false
            tracks longer.
        appearance_weight: Weight of different colors: the similarity of a pose is multiplied by
            exp(-weight * (1 - histogram similarity)). Higher values separate people in different
            clothing better but are more sensitive to changes of the light.
        minimum_appearance_similarity: Least histogram similarity where another person's box
            overlaps. Higher values avoid id switches in crossings but lose people in shadow.
    """

    minimum_consecutive_frames: int = 3
    lost_track_buffer_s: float = 3.0
    coast_s: float = 1.5
    minimum_similarity: float = 0.35
    duplicate_oks: float = 0.7
    minimum_quality: float = 0.3
    confident_quality: float = 0.5
    unconfirmed_buffer_s: float = 3.0
    appearance_weight: float = 5.0
    minimum_appearance_similarity: float = 0.8

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} is {value:g}; expected a finite number, 0 or more")
            if field.name.endswith(("similarity", "quality", "oks")) and value > 1:
                raise ValueError(f"{field.name} is {value:g}; expected 0..1")
        if self.minimum_consecutive_frames < 1 or self.minimum_similarity == 0:
            raise ValueError(
                f"minimum_consecutive_frames is {self.minimum_consecutive_frames}, "
                f"minimum_similarity is {self.minimum_similarity:g}; expected 1 or more, and over 0"
            )


DEFAULT_TRACKER = TrackerSettings()
SLOW_FRAME_S = 0.75
"""After a longer time without a frame, the expected positions of people are not reliable."""
_RELIABLE_FRACTION = 0.9
"""A pose with this fraction of the usual quality is reliable."""
_QUALITY_TIME_S = 1.5
"""Time constant of the average of the quality."""
_HISTOGRAM_RATE = 0.1
"""Weight of a new histogram in the average."""


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """One person over time; pose, box and motion are of the last reliable frame.

    A person who walks behind a pillar is still found for some frames, in poses squeezed onto the
    visible part, which would stop the track at the pillar. So a pose clearly worse than usual is
    returned but does not change what is expected; after a second or two it is the usual one.

    Attributes:
        track_id: The person's id; NOT_TRACKED until confirmed.
        state: Tracked, new or lost.
        points_image: (joints, 2).
        scores: (joints,).
        box_image: x1, y1, x2, y2.
        box_score: Score of the last detection.
        torso_histogram: Colors of the person, a slow average.
        motion: Filter of the velocity.
        last_reliable_s: Time of the last reliable frame.
        last_detected_s: Time of the last detection.
        quality: Average quality of the poses over a second or two.
        last_matched_s: Time of the last frame with a pose, reliable or not.
        frames: Number of frames with a pose.
        detections: Number of these with a detection.
        missed_detections: Number of detector runs since the last detection.
        requires_detection: Whether only a detection can end the loss, since missing detections
            caused it.
    """

    track_id: int
    state: TrackState
    points_image: Float32[np.ndarray, "joints 2"]
    scores: Float32[np.ndarray, " joints"]
    box_image: Float32[np.ndarray, "4"]
    box_score: float
    torso_histogram: Float32[np.ndarray, " bins"]
    motion: MotionModel
    last_reliable_s: float
    last_detected_s: float
    quality: float
    last_matched_s: float
    frames: int = 1
    detections: int = 1
    missed_detections: int = 0
    requires_detection: bool = False

    @classmethod
    def start(
        cls, poses: Poses, row: int, *, quality: float, histogram: np.ndarray, timestamp_s: float
    ) -> Track:
        """Return a new track that starts with the pose in this row."""
        box = poses.boxes_image[row]
        return cls(
            track_id=NOT_TRACKED,
            state=TrackState.NEW,
            points_image=poses.points_image[row],
            scores=poses.scores[row],
            box_image=box,
            box_score=_box_score(poses, row),
            torso_histogram=histogram,
            motion=MotionModel(size_px=person_size_px(box)),
            last_reliable_s=timestamp_s,
            last_matched_s=timestamp_s,
            last_detected_s=timestamp_s,
            quality=quality,
        )

    def expected_shift(self, timestamp_s: float) -> Float32[np.ndarray, "2"]:
        """Return the expected shift since the last reliable frame, in pixels."""
        return self.motion.expected_shift(timestamp_s - self.last_reliable_s)

    def expected_points(self, timestamp_s: float) -> Float32[np.ndarray, "joints 2"]:
        """Return the expected joints."""
        return self.points_image + self.expected_shift(timestamp_s)

    def expected_box(self, timestamp_s: float) -> Float32[np.ndarray, "4"]:
        """Return the expected box."""
        return self.box_image + np.tile(self.expected_shift(timestamp_s), 2)

    def position_variance(self, timestamp_s: float) -> float:
        """Return the variance of the expected position along each axis, in square pixels."""
        return self.motion.position_variance(timestamp_s - self.last_reliable_s)

    def update(
        self,
        poses: Poses,
        row: int,
        *,
        quality: float,
        histogram: np.ndarray,
        timestamp_s: float,
        is_box_detected: bool,
        is_detected: bool,
    ) -> None:
        """Continue the track with the pose in a row of a frame's poses.

        Args:
            poses: Poses of the frame.
            row: Row of the pose.
            quality: Quality of the pose.
            histogram: Colors of the person in this frame.
            timestamp_s: Time of the frame.
            is_box_detected: Whether the pose's box is a detection.
            is_detected: Whether the person was detected, in this box or in a duplicate.
        """
        self.frames += 1
        if is_detected:
            self.last_detected_s = timestamp_s
            self.missed_detections, self.requires_detection = 0, False
            self.detections += 1
        is_reliable = quality >= _RELIABLE_FRACTION * self.quality
        self.quality += (1 - math.exp(-(timestamp_s - self.last_matched_s) / _QUALITY_TIME_S)) * (
            quality - self.quality
        )
        self.last_matched_s = timestamp_s
        if not is_reliable:
            return
        elapsed_s = timestamp_s - self.last_reliable_s
        points, scores = poses.points_image[row], poses.scores[row]
        motion = fit_shift_scale(self.points_image, points, self.scores * scores)
        if is_box_detected:
            self.box_image, self.box_score = poses.boxes_image[row], _box_score(poses, row)
        else:
            self.box_image = fitted_box(
                motion.move_box(self.box_image), points, scores, elapsed_s=elapsed_s
            )
        self.motion.update(motion, elapsed_s, person_size_px(self.box_image))
        self.points_image, self.scores, self.last_reliable_s = points, scores, timestamp_s
        if histogram.any():
            rate = _HISTOGRAM_RATE if self.torso_histogram.any() else 1.0
            self.torso_histogram = (
                self.torso_histogram + rate * (histogram - self.torso_histogram)
            ).astype(np.float32)


def _box_score(poses: Poses, row: int) -> float:
    """The detector's score of the box: the person score without the factor of the joints."""
    joints = float(person_scores(poses.scores[row : row + 1], np.ones(1, np.float32))[0])
    return min(1.0, float(poses.person_scores[row]) / joints) if joints > 0 else 0.0


@dataclass(slots=True)
class NewIds:
    """The ids of new people: 1, 2, 3, ...; unlike ``itertools.count`` it can be pickled.

    Attributes:
        newest: The last one given; 0 before the first.
    """

    newest: int = 0

    def __iter__(self) -> NewIds:
        return self

    def __next__(self) -> int:
        self.newest += 1
        return self.newest
