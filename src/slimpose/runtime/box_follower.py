"""Pose tracking in the frames of a video whose boxes are given."""

from __future__ import annotations

from slimpose.arrays import Boxes, PersonScores
from slimpose.media.frame import Frame
from slimpose.poses import Poses
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.timing import StageTimes
from slimpose.tracking.smoothing import PoseSmoother
from slimpose.tracking.tracker import Tracker
from slimpose.tracking.tracks import TrackerSettings

_EVERY_BOX = TrackerSettings(minimum_consecutive_frames=1, minimum_quality=0.0, duplicate_oks=1.0)
"""Given boxes are people: none is dropped, or returned later."""


class BoxFollower:
    """Gives ids to the people of one video in given boxes: a pose and an id for every box.

    ``Follower`` with a detector decides itself where people are; here the boxes do.

    Args:
        pipeline: The models; a detector is not used.
        smooth: Whether the keypoints are smoothed over time.

    Attributes:
        everyone: The people of the last frame before smoothing.
        last_ms: Time of each stage of the last frame.
    """

    def __init__(self, pipeline: Pipeline, *, smooth: bool = True) -> None:
        self._pipeline = pipeline
        self._tracker = Tracker(pipeline.estimator.session.info.skeleton, settings=_EVERY_BOX)
        self._smoother = PoseSmoother() if smooth else None
        self.everyone = Poses.empty(self._tracker.skeleton)
        self.last_ms: dict[str, float] = {}

    def step(self, frame: Frame, boxes_image: Boxes, box_scores: PersonScores) -> Poses:
        """Return the people in the boxes (n, 4) of a frame, sorted by id.

        Raises:
            ImageError: If the image is not RGB uint8.
            ValueError: If a box has no area in the image, or the time does not increase.
        """
        poses, stages_ms = self._pipeline.timed(frame.image, boxes_image, box_scores)
        times = StageTimes("track")
        self.everyone = self._tracker.update(poses, frame.timestamp_s, image=frame.image)
        people = self.everyone
        if self._smoother is not None:
            people = self._smoother(people, frame.timestamp_s)
        times.lap("track")
        self.last_ms = stages_ms | times.totals_ms()
        return people
