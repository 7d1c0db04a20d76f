"""What is known of one person, and when tracks are born, lost and ended."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from slimpose.poses import NOT_TRACKED, Poses, person_scores
from slimpose.runtime.tracking.boxes import fitted_box, person_size_px
from slimpose.runtime.tracking.motion_model import MotionModel, fit_shift_scale


class TrackState(enum.IntEnum):
    """What a track is: told of, not yet told of, or not seen at present."""

    TRACKED = 0
    NEW = 1
    LOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """When tracks are born, lost and ended. Similarities, qualities and likenesses are 0..1.

    Attributes:
        confirm_frames: A new person is told of when seen in so many frames.
        lost_s: How long a lost person's number is kept for them.
        guess_s: How long after the loss it is looked where they should be, without the detector.
        least_similarity: Of a pose to where a track is expected.
        same_similarity: Two poses more alike than this are one person seen twice.
        least_quality: Of a pose (its joints' scores, averaged with themselves as weights): less is
            nobody.
        sure_quality: A pose at least this good needs less of the detector's word.
        patience_s: A person whom the detector does not see for so long is lost; a sure one after
            thrice the time.
        color_weight: How much other colors count against a pose: exp(-weight * (1 - likeness)).
        least_likeness: Of the colors of the clothes, where somebody else's box overlaps.
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
            if field.name.endswith(("similarity", "quality", "likeness")) and value > 1:
                raise ValueError(f"{field.name} is {value:g}; expected 0..1")
        if self.minimum_consecutive_frames < 1 or self.minimum_similarity == 0:
            raise ValueError("confirm_frames must be at least 1 and least_similarity over 0")


DEFAULT_TRACKER = TrackerSettings()
_STEADY_SHARE = 0.9
_USUAL_S = 1.5


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """One person; points, scores, box and speed are of the last frame that showed them as well as usual.

    Whoever goes behind a pillar is still found for some frames, in poses squeezed onto what is left
    of them: those would stop the track at the pillar. So a pose clearly worse than usual is told,
    but changes nothing of what is expected; after a second or two it has become the usual one.

    Attributes:
        number: The person's id; NOT_TRACKED until confirmed.
        state: Followed, new or lost.
        points_image: (joints, 2).
        scores: (joints,).
        box_image: x1, y1, x2, y2.
        box_score: The detector's, when it last saw them.
        colors: Of the clothes, slowly averaged.
        motion: Speed and its filter.
        seen_s: Time of that last frame.
        detected_s: When the detector last saw them.
        quality: Of the pose, averaged over a second or two.
        told_s: Time of the last frame that had a pose of them, of whatever quality.
        frames: In how many frames they were seen.
        detections: In how many of those by the detector.
        runs_missed: How often in a row the detector has now missed them.
        only_detected: Whether only the detector can bring them back: it was its word that lost
            them.
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
        cls, poses: Poses, row: int, *, quality: float, colors: np.ndarray, timestamp_s: float
    ) -> Track:
        """Return the track of a pose that continues none."""
        box = poses.boxes_image[row]
        return cls(
            number=NOT_TRACKED,
            state=TrackState.NEW,
            points_image=poses.points_image[row],
            scores=poses.scores[row],
            box_image=box,
            box_score=_box_score(poses, row),
            torso_histogram=colors,
            motion=MotionModel(size_px=person_size_px(box)),
            seen_s=timestamp_s,
            last_matched_s=timestamp_s,
            detected_s=timestamp_s,
            quality=quality,
        )

    def expected_shift(self, timestamp_s: float) -> Float32[np.ndarray, "2"]:
        """Return the shift expected from the last frame that showed the person to this time."""
        return self.motion.expected_shift(timestamp_s - self.last_reliable_s)

    def expected_points(self, timestamp_s: float) -> Float32[np.ndarray, "joints 2"]:
        """Return where the joints are expected."""
        return self.points_image + self.expected_shift(timestamp_s)

    def expected_box(self, timestamp_s: float) -> Float32[np.ndarray, "4"]:
        """Return where the box is expected."""
        return self.box_image + np.tile(self.expected_shift(timestamp_s), 2)

    def update(
        self,
        poses: Poses,
        row: int,
        *,
        quality: float,
        colors: np.ndarray,
        timestamp_s: float,
        box_detected: bool,
        detected: bool,
    ) -> None:
        """Take in the pose that continues the track.

        Args:
            poses: Of the frame.
            row: Which of them.
            quality: Of the pose.
            colors: Of the clothes.
            timestamp_s: The frame's.
            box_detected: Whether the pose's box is the detector's.
            detected: Whether the detector saw the person, in this box or in one like it.
        """
        self.frames += 1
        if detected:
            self.last_detected_s, self.missed_detections, self.requires_detection = timestamp_s, 0, False
            self.detections += 1
        steady = quality >= _STEADY_SHARE * self.quality
        self.quality += (1 - math.exp(-(timestamp_s - self.last_matched_s) / _USUAL_S)) * (
            quality - self.quality
        )
        self.last_matched_s = timestamp_s
        if not steady:
            return
        elapsed_s = timestamp_s - self.last_reliable_s
        points, scores = poses.points_image[row], poses.scores[row]
        moved = fit_shift_scale(self.points_image, points, self.scores * scores)
        if box_detected:
            self.box_image, self.box_score = poses.boxes_image[row], _box_score(poses, row)
        else:
            self.box_image = fitted_box(
                moved.move_box(self.box_image), points, scores, elapsed_s=elapsed_s
            )
        self.motion.update(moved, elapsed_s, person_size_px(self.box_image))
        self.points_image, self.scores, self.last_reliable_s = points, scores, timestamp_s
        if colors.any():
            share = 0.1 if self.torso_histogram.any() else 1.0
            self.torso_histogram = (
                self.torso_histogram + share * (colors - self.torso_histogram)
            ).astype(np.float32)


def _box_score(poses: Poses, row: int) -> float:
    """What the detector gave the box: the person's score without its joints' part."""
    joints = float(person_scores(poses.scores[row : row + 1], np.ones(1, np.float32))[0])
    return min(1.0, float(poses.person_scores[row]) / joints) if joints > 0 else 0.0
