"""People of one camera, numbered: born, confirmed, carried on, lost, found again, ended."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.poses import Poses
from slimpose.runtime.detector import MIN_BOX_PX
from slimpose.runtime.tracking.appearance import BINS, histogram_similarity, torso_histograms
from slimpose.runtime.tracking.assignment import assign
from slimpose.runtime.tracking.association import pose_similarity
from slimpose.runtime.tracking.boxes import joint_extents, pairwise_oks, pose_quality
from slimpose.runtime.tracking.tracks import DEFAULT_TRACKER, Track, TrackerSettings, TrackState
from slimpose.skeleton import Skeleton

_LEAST_RUNS_MISSED = 4
"""How often in a row the detector must miss a person before its patience can end."""
_NEW_RUNS_MISSED = 2
_OVERLAPPED_IOU = 0.1
_LOST_HANDICAP = 0.8
"""What a lost track's likeness counts for against the others', whose place is surer; it fades with time."""
_LEAST_OF_LOST = 0.2
"""A lost track would rather stay lost than take a pose that it prefers less than this."""
_FALLEN = 0.6
"""A pose worse than this share of the track's usual quality worries."""


class Origin(enum.IntEnum):
    """Why a box was looked at; of two poses of one person a lower one is kept before a guess."""

    DETECTED = 0
    """The detector gave it in this frame."""
    TRACKED = 1
    """Somebody followed should be there."""
    COASTED = 2
    """Somebody lost might be there again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedPeople:
    """Where people should be: boxes (n, 4), the scores they were last detected with (n,), and why (n,)."""

    boxes_image: Boxes
    box_scores: PersonScores
    origins: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """A frame's poses with all that choosing among them needs, a row a pose."""

    poses: Poses
    origins: Int64[np.ndarray, " n"]
    quality: Float32[np.ndarray, " n"]
    colors: Float32[np.ndarray, "n bins"]
    timestamp_s: float


class Tracker:
    """Numbers the people of one camera.

    Alone, on the poses of any detector: ``tracker.update(poses, timestamp_s)`` for each frame. With
    ``expected`` the boxes in between come from the tracks themselves.

    Args:
        skeleton: Of all poses.
        rules: When tracks are born, lost and ended.
        numbers: Where new people's ids come from; 1, 2, 3, ... by default. Several cameras share
            one.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        settings: TrackerSettings = DEFAULT_TRACKER,
        new_ids: Iterator[int] | None = None,
    ) -> None:
        self.skeleton = skeleton
        self.settings = settings
        self._new_ids = itertools.count(1) if new_ids is None else new_ids
        self._tracks: list[Track] = []
        self._now_s: float | None = None
        self.needs_detection = False
        """Whether somebody was lost, or seen much worse than usual, in the last frame: ask the detector."""

    def __len__(self) -> int:
        """How many tracks are kept, the lost and the unconfirmed included."""
        return len(self._tracks)

    def expected(self, timestamp_s: float, size: Size) -> ExpectedPeople:
        """Return the boxes, cut at the picture's border, where the followed and the just lost should be."""
        limit = np.array([size.width, size.height] * 2, np.float32) - np.float32(0.5)
        boxes, scores, origins = [], [], []
        for track in self._remembered(timestamp_s):
            lost = track.state == TrackState.LOST
            if lost and (
                track.requires_detection or timestamp_s - track.last_matched_s > self.settings.coast_s
            ):
                continue
            box = np.clip(track.expected_box(timestamp_s), np.float32(-0.5), limit)
            if (box[2:] - box[:2] >= MIN_BOX_PX).all():
                boxes.append(box)
                scores.append(track.box_score)
                origins.append(Origin.COASTED if lost else Origin.TRACKED)
        return ExpectedPeople(
            boxes_image=np.array(boxes, np.float32).reshape(-1, 4),
            box_scores=np.array(scores, np.float32),
            origins=np.array(origins, np.int64),
        )

    def update(
        self,
        poses: Poses,
        timestamp_s: float,
        *,
        image: Image | None = None,
        origins: Int64[np.ndarray, " n"] | None = None,
        detector_ran: bool = True,
    ) -> Poses:
        """Return the people of a frame whom the tracker is sure of, with their ids, the lowest first.

        Args:
            poses: Everything found; one person may be in it twice.
            timestamp_s: The frame's; must be over the last one's.
            image: The frame; with it colors help to know returning people again.
            origins: An ``Origin`` a pose; by default the detector gave all.
            detector_ran: Whether the detector saw this frame.

        Raises:
            ValueError: If the time does not advance, or a pose's skeleton or number of origins is
                another.
        """
        origins = np.full(len(poses), Origin.DETECTED, np.int64) if origins is None else origins
        self._check(poses, timestamp_s, origins)
        starts = self._now_s is None or timestamp_s - self._now_s > self.settings.lost_track_buffer_s
        self._now_s, self.needs_detection = timestamp_s, False
        self._tracks = self._remembered(timestamp_s)
        colors = np.zeros((len(poses), BINS), np.float32)
        if image is not None:
            colors = torso_histograms(image, poses.boxes_image)
        seen = _Seen(
            poses=poses,
            origins=origins,
            quality=pose_quality(poses.scores),
            colors=colors,
            timestamp_s=timestamp_s,
        )
        kept, detected = self._kept(seen)
        pairs = self._pairs(seen, kept)
        for track, row in pairs:
            self._carry_on(track, seen, row, detected=row in detected)
        shown = {row: track for track, row in pairs if track.state == TrackState.TRACKED}
        if detector_ran:
            self._hear_detector(timestamp_s)
        self._lose_and_end({id(track) for track, _ in pairs}, timestamp_s, image)
        taken = {row for _, row in pairs}
        for row in sorted(kept):
            if row not in taken and origins[row] == Origin.DETECTED:
                track = self._born(seen, row, first_frame=starts)
                if track.state == TrackState.TRACKED:
                    shown[row] = track
        rows = sorted(shown, key=lambda row: shown[row].track_id)
        return select_people(poses, rows, [shown[row].track_id for row in rows])

    def _remembered(self, timestamp_s: float) -> list[Track]:
        """The tracks that are not over by now: after a gap in the film, none."""
        return [
            track
            for track in self._tracks
            if timestamp_s - track.last_matched_s <= self.settings.lost_track_buffer_s
        ]

    def _check(self, poses: Poses, timestamp_s: float, origins: np.ndarray) -> None:
        if not math.isfinite(timestamp_s):
            raise ValueError(f"the time is {timestamp_s}; expected a finite number of seconds")
        if self._now_s is not None and timestamp_s <= self._now_s:
            raise ValueError(
                f"the time went from {self._now_s:g} s to {timestamp_s:g} s; expected it to advance"
            )
        if poses.skeleton.joints != self.skeleton.joints:
            raise ValueError(
                f"poses are of skeleton {poses.skeleton.name!r}; this tracker's is {self.skeleton.name!r}"
            )
        if origins.shape != (len(poses),):
            raise ValueError(
                f"origins have shape {origins.shape}; expected ({len(poses)},), one a pose"
            )

    def _kept(self, seen: _Seen) -> tuple[list[int], set[int]]:
        """The rows to go on with, good enough and nobody twice, and those of them whom the detector saw."""
        guessed = seen.origins == Origin.COASTED
        extents = joint_extents(seen.poses.points_image, seen.poses.scores)
        fit = np.diagonal(geometry.box_iou(seen.poses.boxes_image, extents))
        alike = pairwise_oks(seen.poses.points_image, seen.poses.scores, self.skeleton)
        floor = np.where(guessed, self.settings.confident_quality, self.settings.minimum_quality)
        sound = np.isfinite(seen.poses.points_image).all(axis=(1, 2)) & (seen.quality >= floor)
        kept: list[int] = []
        detected: set[int] = set()
        for row in np.lexsort((-seen.quality * fit, guessed)):
            if not sound[row]:
                continue
            same = next(
                (better for better in kept if alike[row, better] > self.settings.duplicate_oks), None
            )
            if same is None:
                kept.append(int(row))
            if seen.origins[row] == Origin.DETECTED:
                detected.add(int(row) if same is None else same)
        return kept, detected

    def _pairs(self, seen: _Seen, kept: list[int]) -> list[tuple[Track, int]]:
        """Who is who: the known choose together, the lost with a handicap; the new among the poses that are left."""
        pairs: list[tuple[Track, int]] = []
        free = kept
        for new in (False, True):
            tracks = [track for track in self._tracks if (track.state == TrackState.NEW) == new]
            if not tracks or not free:
                continue
            found = assign(self._preference(tracks, seen, free), 1e-3)
            pairs += [(tracks[a], free[b]) for a, b in found]
            taken = {free[b] for _, b in found}
            free = [row for row in free if row not in taken]
        return pairs

    def _preference(
        self, tracks: list[Track], seen: _Seen, rows: list[int]
    ) -> Float32[np.ndarray, "a b"]:
        """How much tracks want poses: their likeness, less for other clothes and for the lost; 0: nobody of theirs."""
        now_s, poses = seen.timestamp_s, seen.poses
        boxes = np.stack([track.expected_box(now_s) for track in tracks])
        similarity = pose_similarity(
            np.stack([track.expected_points(now_s) for track in tracks]),
            np.stack([track.scores for track in tracks]),
            boxes,
            poses.points_image[rows],
            poses.scores[rows],
            poses.boxes_image[rows],
            self.skeleton,
            position_variance_a=np.array(
                [track.motion.position_variance(now_s - track.last_reliable_s) for track in tracks], np.float32
            ),
        )
        similarity[similarity < self.settings.minimum_similarity] = 0
        likeness = histogram_similarity(
            np.stack([track.torso_histogram for track in tracks]), seen.colors[rows]
        )
        preference = similarity * np.exp(-self.settings.appearance_weight * (1 - likeness))
        # Where people overlap, poses slip from one to the other little by little; clothes do not.
        others = np.where(np.eye(len(tracks), dtype=bool), 0, geometry.box_iou(boxes, boxes))
        overlapped = others.max(axis=1, keepdims=True) > _OVERLAPPED_IOU
        preference[overlapped & (likeness < self.settings.minimum_appearance_similarity)] = 0
        lost = np.array([track.state == TrackState.LOST for track in tracks])
        if lost.any():
            unseen_s = now_s - np.array([track.last_matched_s for track in tracks])
            handicap = np.where(
                lost,
                _LOST_HANDICAP * np.exp(-unseen_s / max(self.settings.lost_track_buffer_s, 1e-6)),
                1,
            )
            preference = preference * handicap[:, None]
            undetected = seen.origins[rows] != Origin.DETECTED
            doubtful = undetected & (seen.quality[rows] < self.settings.confident_quality)
            only_detected = np.array([track.requires_detection for track in tracks])[:, None]
            never = only_detected & undetected | doubtful | (preference < _LEAST_OF_LOST)
            preference[lost[:, None] & never] = 0
        return preference.astype(np.float32)

    def _carry_on(self, track: Track, seen: _Seen, row: int, *, detected: bool) -> None:
        quality = float(seen.quality[row])
        if track.state == TrackState.TRACKED and quality < _FALLEN * track.quality:
            self.needs_detection = True
        track.update(
            seen.poses,
            row,
            quality=quality,
            colors=seen.colors[row],
            timestamp_s=seen.timestamp_s,
            box_detected=bool(seen.origins[row] == Origin.DETECTED),
            detected=detected,
        )
        sure = quality >= self.settings.confident_quality or track.detections > 1
        if track.state == TrackState.LOST:
            track.state = TrackState.TRACKED
        elif (
            track.state == TrackState.NEW
            and track.frames >= self.settings.minimum_consecutive_frames
            and sure
        ):
            self._confirm(track)

    def _confirm(self, track: Track) -> None:
        track.state, track.track_id = TrackState.TRACKED, next(self._new_ids)

    def _hear_detector(self, timestamp_s: float) -> None:
        """Whom the detector has not seen for long is lost until it does, however good the pose."""
        for track in self._tracks:
            if track.last_detected_s == timestamp_s:
                continue
            track.missed_detections += 1
            patience_s = self.settings.unconfirmed_buffer_s * (
                3 if track.quality >= self.settings.confident_quality else 1
            )
            over = (
                timestamp_s - track.last_detected_s > patience_s
                and track.missed_detections >= _LEAST_RUNS_MISSED
            )
            if over and track.state == TrackState.TRACKED:
                track.state, track.requires_detection = TrackState.LOST, True

    def _lose_and_end(self, seen: set[int], timestamp_s: float, image: Image | None) -> None:
        """Whom the frame does not show is lost; the new are dropped, and the lost who have left the picture."""
        staying = []
        for track in self._tracks:
            unseen = id(track) not in seen
            if track.state == TrackState.NEW and (unseen or track.missed_detections >= _NEW_RUNS_MISSED):
                continue
            if unseen and track.state == TrackState.TRACKED:
                track.state, self.needs_detection = TrackState.LOST, True
            if track.state == TrackState.LOST:
                x, y = track.expected_box(timestamp_s).reshape(2, 2).mean(axis=0)
                if image is not None and not (0 <= x < image.shape[1] and 0 <= y < image.shape[0]):
                    continue
            staying.append(track)
        self._tracks = staying

    def _born(self, seen: _Seen, row: int, *, first_frame: bool) -> Track:
        """A new track; in the first frame of all, or after a gap, a sure person needs no confirmation."""
        quality = float(seen.quality[row])
        track = Track.start(
            seen.poses,
            row,
            quality=quality,
            colors=seen.colors[row],
            timestamp_s=seen.timestamp_s,
        )
        if self.settings.minimum_consecutive_frames == 1 or (
            first_frame and quality >= self.settings.confident_quality
        ):
            self._confirm(track)
        self._tracks.append(track)
        return track


def select_people(poses: Poses, rows: list[int], ids: list[int]) -> Poses:
    """Return these people only, with these ids."""
    return dataclasses.replace(
        poses,
        points_image=poses.points_image[rows],
        scores=poses.scores[rows],
        covariances_image=poses.covariances_image[rows],
        boxes_image=poses.boxes_image[rows],
        person_scores=poses.person_scores[rows],
        ids=np.array(ids, np.int64),
    )
