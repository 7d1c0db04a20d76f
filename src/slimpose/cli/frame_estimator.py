"""Poses of the frames of one input after another: detected or in given boxes, tracked in videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.cli.options import TrackingOptions
from slimpose.formats.boxes import BoxFile
from slimpose.hide import Hider
from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame, Media
from slimpose.poses import Poses
from slimpose.runtime.box_follower import BoxFollower
from slimpose.runtime.follower import Follower
from slimpose.runtime.people_limits import largest_people
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.timing import StageTimes


@dataclass(frozen=True, slots=True)
class FrameEstimator:
    """Estimates the poses of inputs, one after another.

    Attributes:
        pipeline: The models.
        tracking: How people in videos are tracked.
        box_file: Boxes to use instead of a detector.
        hider: Hides people in the images.
        stages: Time of every stage of all inputs.
    """

    pipeline: Pipeline
    tracking: TrackingOptions
    box_file: BoxFile | None
    hider: Hider | None
    stages: StageTimes = field(default_factory=StageTimes)

    def of(self, media: Media) -> InputEstimator:
        """Return the estimator of one input."""
        is_hidden = self.hider is not None
        if self.box_file is not None:
            is_tracked = media.is_video and self.tracking.track
            follower = (
                BoxFollower(self.pipeline, smooth=self.tracking.smooth) if is_tracked else None
            )
        elif media.is_video:
            follower = self.tracking.follower(self.pipeline, find_everyone=is_hidden)
        else:
            follower = None
        return InputEstimator(self, media.path, follower)


@dataclass(frozen=True, slots=True)
class InputEstimator:
    """Estimates the poses of the frames of one input, in their order."""

    common: FrameEstimator
    path: Path
    follower: Follower | BoxFollower | None

    @property
    def detections(self) -> int:
        """Number of frames of a video that the detector has processed."""
        return self.follower.detections if isinstance(self.follower, Follower) else 0

    def __call__(self, frame: Frame) -> tuple[Image, Poses]:
        """Return the image of a frame, with the people hidden where they are to be, and its poses.

        Only hidden images go on from here.
        """
        pipeline, hider = self.common.pipeline, self.common.hider
        follower = self.follower
        if follower is None and hider is not None and self.common.box_file is None:
            follower = Follower(pipeline, track=False, find_everyone=True)
        if isinstance(follower, Follower):
            (poses,) = follower.step([frame])
            stages_ms, everyone = follower.last_ms, follower.everyone[0] if hider else poses
        elif follower is not None:
            poses = follower.step(frame, *self._boxes(frame))
            stages_ms, everyone = follower.last_ms, follower.everyone
        else:
            boxes = () if self.common.box_file is None else self._boxes(frame)
            poses, stages_ms = pipeline.timed(frame.image, *boxes)
            everyone = poses
        self.common.stages.add_all(stages_ms)
        if hider is None:
            return frame.image, poses
        with self.common.stages.timed("hide"):
            return hider(frame.image, everyone), poses

    def _boxes(self, frame: Frame) -> tuple[Boxes, PersonScores]:
        """The frame's boxes and scores in the box file, checked."""
        file = self.common.box_file
        assert file is not None
        try:
            boxes, scores = file.lookup(self.path, frame.index, Size(*frame.image.shape[:2]))
            geometry.check_boxes_in_image(boxes, frame.image)
        except ValueError as error:
            raise SourceError(f"{self.path}: {error} (boxes of {file.path})") from error
        limits = self.common.pipeline.limits
        confident = scores >= (limits.conf or 0.0)
        boxes, scores = boxes[confident], scores[confident]
        kept = largest_people(boxes, limits.max_people)
        return boxes[kept], scores[kept]
