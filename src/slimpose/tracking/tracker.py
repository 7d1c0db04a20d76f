"""Tracker of one camera: gives ids to poses and predicts boxes for the next frame."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.geometry import MIN_BOX_PX
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton
from slimpose.tracking.appearance import BINS, histogram_similarity, torso_histograms
from slimpose.tracking.assignment import assign
from slimpose.tracking.association import pose_similarity
from slimpose.tracking.boxes import joint_extents, pairwise_oks, pose_quality
from slimpose.tracking.frame_times import FrameTimes
from slimpose.tracking.tracks import (
    DEFAULT_TRACKER,
    NewIds,
    Track,
    TrackerSettings,
    TrackState,
)

_MIN_MISSED_DETECTIONS = 4
"""A track is not lost for missing detections before the detector missed it this often in a row."""
_NEW_MISSED_DETECTIONS = 2
"""An unconfirmed track is dropped when the detector missed it this often in a row."""
_OVERLAP_IOU = 0.1
"""Tracks with boxes of more IoU overlap: the histograms must agree."""
_LOST_FACTOR = 0.8
"""Factor on a lost track's similarity, since its position is less certain; it falls with time."""
_MIN_LOST_SIMILARITY = 0.2
"""Least weighted similarity of a pose that ends a loss."""
_QUALITY_DROP = 0.6
"""A pose under this fraction of the track's usual quality requests the detector."""


class Origin(enum.IntEnum):
    """Source of a pose's box. Of duplicate poses, coasted ones are dropped first."""

    DETECTED = 0
    """A detection in this frame."""
    TRACKED = 1
    """The expected box of a tracked person."""
    COASTED = 2
    """The expected box of a lost person."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedPeople:
    """Expected boxes (n, 4), the scores of their last detections (n,) and their origins (n,)."""

    boxes_image: Boxes
    box_scores: PersonScores
    origins: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Observations:
    """The poses of a frame with the data for the association, a row per pose."""

    poses: Poses
    origins: Int64[np.ndarray, " n"]
    quality: Float32[np.ndarray, " n"]
    histograms: Float32[np.ndarray, "n bins"]
    timestamp_s: float


class Tracker:
    """Gives ids to the people of one camera.

    Works on the poses of any detector: call ``update`` for each frame. To skip the detector in some
    frames, run the pose model on the boxes from ``expected``.

    Args:
        skeleton: Skeleton of all poses.
        settings: When tracks are started, lost and ended.
        new_ids: Source of the ids of new people, default 1, 2, 3, ...; cameras may share one.

    Attributes:
        needs_detection: Whether the next frame should be detected: in the last one a person was
            lost or fitted much worse than usual.

    >>> from slimpose.skeleton import COCO17
    >>> tracker = Tracker(COCO17)
    >>> tracker.update(Poses.empty(COCO17), timestamp_s=0.0).ids.tolist()
    []
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
        self._new_ids = NewIds() if new_ids is None else new_ids
        self._tracks: list[Track] = []
        self._times = FrameTimes()
        self.needs_detection = False

    def __len__(self) -> int:
        """Number of tracks, including lost and unconfirmed ones."""
        return len(self._tracks)

    def expected(self, timestamp_s: float, size: Size) -> ExpectedPeople:
        """Return the expected boxes of tracked and recently lost people, clipped to the image."""
        limit = np.array([size.width, size.height] * 2, np.float32) - np.float32(0.5)
        boxes, scores, origins = [], [], []
        for track in self._current_tracks(timestamp_s):
            lost = track.state == TrackState.LOST
            if lost and (
                track.requires_detection
                or timestamp_s - track.last_matched_s > self.settings.coast_s
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

    def unobserved(self, timestamp_s: float) -> Poses:
        """Return where people should be who have a track and no pose in the frame of this time."""
        tracks = [
            track
            for track in self._current_tracks(timestamp_s)
            if track.last_matched_s < timestamp_s
        ]
        joints = len(self.skeleton.joints)
        points = [track.expected_points(timestamp_s) for track in tracks]
        boxes = [track.expected_box(timestamp_s) for track in tracks]
        return Poses(
            points_image=np.array(points, np.float32).reshape(-1, joints, 2),
            scores=np.array([track.scores for track in tracks], np.float32).reshape(-1, joints),
            covariances_image=np.zeros((len(tracks), joints, 2, 2), np.float32),
            boxes_image=np.array(boxes, np.float32).reshape(-1, 4),
            person_scores=np.zeros(len(tracks), np.float32),
            ids=np.array([track.track_id for track in tracks], np.int64),
            skeleton=self.skeleton,
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
        """Return the confirmed people of a frame with their ids, sorted by id.

        Args:
            poses: All poses of the frame; duplicates are allowed.
            timestamp_s: Time of the frame; must be over that of the last frame.
            image: The frame. With it colors help to recognize people who return.
            origins: The ``Origin`` of each pose; by default all boxes are detections.
            detector_ran: Whether the detector ran on this frame.

        Raises:
            ValueError: If the time does not increase, the skeleton is another, or the number of
                origins is not that of the poses.
        """
        origins = np.full(len(poses), Origin.DETECTED, np.int64) if origins is None else origins
        self._check(poses, timestamp_s, origins)
        self._tracks, self.needs_detection = self._current_tracks(timestamp_s), False
        is_after_gap = self._times.is_after_gap(timestamp_s)
        self._times.add(timestamp_s)
        histograms = np.zeros((len(poses), BINS), np.float32)
        if image is not None:
            histograms = torso_histograms(image, poses.boxes_image)
        observed = _Observations(
            poses=poses,
            origins=origins,
            quality=pose_quality(poses.scores),
            histograms=histograms,
            timestamp_s=timestamp_s,
        )
        rows, detected = self._without_duplicates(observed)
        pairs = self._associate(observed, rows)
        for track, row in pairs:
            self._update_track(track, observed, row, is_detected=row in detected)
        confirmed = {row: track for track, row in pairs if track.state == TrackState.TRACKED}
        if detector_ran:
            self._apply_detection(timestamp_s)
        self._end_unmatched({id(track) for track, _ in pairs}, timestamp_s, image)
        matched = {row for _, row in pairs}
        for row in sorted(rows):
            if row not in matched and origins[row] == Origin.DETECTED:
                track = self._start(observed, row, is_after_gap=is_after_gap)
                if track.state == TrackState.TRACKED:
                    confirmed[row] = track
        rows = sorted(confirmed, key=lambda row: confirmed[row].track_id)
        return select_people(poses, rows, [confirmed[row].track_id for row in rows])

    def _current_tracks(self, timestamp_s: float) -> list[Track]:
        """The tracks whose buffer has not expired; after a gap in the video, none."""
        buffer_s = self._times.buffer_s(timestamp_s, self.settings)
        return [track for track in self._tracks if timestamp_s - track.last_matched_s <= buffer_s]

    def _check(self, poses: Poses, timestamp_s: float, origins: np.ndarray) -> None:
        self._times.check(timestamp_s)
        if poses.skeleton.joints != self.skeleton.joints:
            raise ValueError(
                f"the poses have skeleton {poses.skeleton.name!r}; "
                f"expected this tracker's {self.skeleton.name!r}"
            )
        if origins.shape != (len(poses),):
            raise ValueError(
                f"origins have shape {origins.shape}; expected ({len(poses)},), one per pose"
            )

    def _without_duplicates(self, observed: _Observations) -> tuple[list[int], set[int]]:
        """Drop poor poses and duplicates; return the remaining rows and which were detected.

        A row counts as detected if it or one of its duplicates is a detection.
        """
        poses, settings = observed.poses, self.settings
        coasted = observed.origins == Origin.COASTED
        extents = joint_extents(poses.points_image, poses.scores)
        box_fit = np.diagonal(geometry.box_iou(poses.boxes_image, extents))
        oks = pairwise_oks(poses.points_image, poses.scores, self.skeleton)
        minimum = np.where(coasted, settings.confident_quality, settings.minimum_quality)
        valid = np.isfinite(poses.points_image).all(axis=(1, 2)) & (observed.quality >= minimum)
        kept: list[int] = []
        detected: set[int] = set()
        for row in np.lexsort((-observed.quality * box_fit, coasted)):
            if not valid[row]:
                continue
            duplicates = (other for other in kept if oks[row, other] > settings.duplicate_oks)
            duplicate = next(duplicates, None)
            if duplicate is None:
                kept.append(int(row))
            if observed.origins[row] == Origin.DETECTED:
                detected.add(int(row) if duplicate is None else duplicate)
        return kept, detected

    def _associate(self, observed: _Observations, rows: list[int]) -> list[tuple[Track, int]]:
        """Match tracks and poses: confirmed tracks first, then new tracks with the other poses."""
        pairs: list[tuple[Track, int]] = []
        for new in (False, True):
            tracks = [track for track in self._tracks if (track.state == TrackState.NEW) == new]
            if not tracks or not rows:
                continue
            matches = assign(self._weighted_similarity(tracks, observed, rows), 1e-3)
            pairs += [(tracks[a], rows[b]) for a, b in matches]
            matched = {rows[b] for _, b in matches}
            rows = [row for row in rows if row not in matched]
        return pairs

    def _weighted_similarity(
        self, tracks: list[Track], observed: _Observations, rows: list[int]
    ) -> Float32[np.ndarray, "a b"]:
        """Similarity of tracks and poses, lower for other colors and lost tracks; 0: no match."""
        now_s, poses = observed.timestamp_s, observed.poses
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
                [track.position_variance(now_s) for track in tracks], np.float32
            ),
        )
        similarity[similarity < self.settings.minimum_similarity] = 0
        appearance = histogram_similarity(
            np.stack([track.torso_histogram for track in tracks]), observed.histograms[rows]
        )
        similarity = similarity * np.exp(-self.settings.appearance_weight * (1 - appearance))
        # Where people overlap, poses drift from one to the other; their clothing does not.
        others = np.where(np.eye(len(tracks), dtype=bool), 0, geometry.box_iou(boxes, boxes))
        overlaps = others.max(axis=1, keepdims=True) > _OVERLAP_IOU
        similarity[overlaps & (appearance < self.settings.minimum_appearance_similarity)] = 0
        return self._penalize_lost(similarity, tracks, observed, rows).astype(np.float32)

    def _penalize_lost(
        self, similarity: np.ndarray, tracks: list[Track], observed: _Observations, rows: list[int]
    ) -> np.ndarray:
        """Lower the similarity of lost tracks with time; 0 where a pose may not end the loss."""
        lost = np.array([track.state == TrackState.LOST for track in tracks])
        if not lost.any():
            return similarity
        lost_s = observed.timestamp_s - np.array([track.last_matched_s for track in tracks])
        decay = np.exp(
            -lost_s / max(self._times.buffer_s(observed.timestamp_s, self.settings), 1e-6)
        )
        similarity = similarity * np.where(lost, _LOST_FACTOR * decay, 1)[:, None]
        undetected = observed.origins[rows] != Origin.DETECTED
        unconfident = observed.quality[rows] < self.settings.confident_quality
        required = np.array([track.requires_detection for track in tracks])[:, None]
        excluded = undetected & (required | unconfident) | (similarity < _MIN_LOST_SIMILARITY)
        similarity[lost[:, None] & excluded] = 0
        return similarity

    def _update_track(
        self, track: Track, observed: _Observations, row: int, *, is_detected: bool
    ) -> None:
        quality = float(observed.quality[row])
        if track.state == TrackState.TRACKED and quality < _QUALITY_DROP * track.quality:
            self.needs_detection = True
        track.update(
            observed.poses,
            row,
            quality=quality,
            histogram=observed.histograms[row],
            timestamp_s=observed.timestamp_s,
            is_box_detected=bool(observed.origins[row] == Origin.DETECTED),
            is_detected=is_detected,
        )
        if track.state == TrackState.LOST:
            track.state = TrackState.TRACKED
        elif track.state == TrackState.NEW and (
            self._times.is_slow(observed.timestamp_s)
            or (
                track.frames >= self.settings.minimum_consecutive_frames
                and (quality >= self.settings.confident_quality or track.detections > 1)
            )
        ):
            self._confirm(track)

    def _confirm(self, track: Track) -> None:
        track.state, track.track_id = TrackState.TRACKED, next(self._new_ids)

    def _apply_detection(self, timestamp_s: float) -> None:
        """Lose tracks that the detector has missed for too long, however good their poses are."""
        for track in self._tracks:
            if track.last_detected_s == timestamp_s:
                continue
            track.missed_detections += 1
            is_confident = track.quality >= self.settings.confident_quality
            buffer_s = self.settings.unconfirmed_buffer_s * (3 if is_confident else 1)
            if (
                track.state == TrackState.TRACKED
                and timestamp_s - track.last_detected_s > buffer_s
                and track.missed_detections >= _MIN_MISSED_DETECTIONS
            ):
                track.state, track.requires_detection = TrackState.LOST, True

    def _end_unmatched(self, matched: set[int], timestamp_s: float, image: Image | None) -> None:
        """Lose unmatched tracks; end unconfirmed ones and lost ones that have left the image."""
        kept = []
        for track in self._tracks:
            is_unmatched = id(track) not in matched
            if track.state == TrackState.NEW and (
                is_unmatched or track.missed_detections >= _NEW_MISSED_DETECTIONS
            ):
                continue
            if is_unmatched and track.state == TrackState.TRACKED:
                track.state, self.needs_detection = TrackState.LOST, True
            if track.state == TrackState.LOST and image is not None:
                x, y = track.expected_box(timestamp_s).reshape(2, 2).mean(axis=0)
                if not (0 <= x < image.shape[1] and 0 <= y < image.shape[0]):
                    continue
            kept.append(track)
        self._tracks = kept

    def _start(self, observed: _Observations, row: int, *, is_after_gap: bool) -> Track:
        """Start a track; in the first frame, or after a gap, confident poses are confirmed.

        Where every frame comes after a gap, all are: the next frame may be too late.
        """
        quality = float(observed.quality[row])
        track = Track.start(
            observed.poses,
            row,
            quality=quality,
            histogram=observed.histograms[row],
            timestamp_s=observed.timestamp_s,
        )
        if (
            self.settings.minimum_consecutive_frames == 1
            or (is_after_gap and quality >= self.settings.confident_quality)
            or self._times.is_slow(observed.timestamp_s)
        ):
            self._confirm(track)
        self._tracks.append(track)
        return track


def select_people(poses: Poses, rows: list[int], ids: list[int]) -> Poses:
    """Return the people in these rows with these ids."""
    return dataclasses.replace(
        poses,
        points_image=poses.points_image[rows],
        scores=poses.scores[rows],
        covariances_image=poses.covariances_image[rows],
        boxes_image=poses.boxes_image[rows],
        person_scores=poses.person_scores[rows],
        ids=np.array(ids, np.int64),
    )
