"""Motions of the people in a video: tracked, not smoothed, because ``clean`` does it later."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from slimpose.media.frame import Media
from slimpose.media.video_reader import UnreadFramesError
from slimpose.motion.trajectory import Motion, MotionCollector
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline

_log = logging.getLogger("slimpose")


def motions_of_video(
    media: Media,
    pipeline: Pipeline,
    *,
    detect_every: int = 8,
    on_frame: Callable[[], None] = lambda: None,
) -> list[Motion]:
    """Return the motions of the people in a video (``media.sources.open_media``).

    Pixels that are not square are made square. Frames that cannot be read are gaps; a warning of
    the log names them.

    Args:
        media: The opened video.
        pipeline: Detector and pose model.
        detect_every: Run the detector at least on every N-th frame.
        on_frame: Called after every frame.

    Raises:
        ValueError: If it is an image, or no person is found.
    """
    if not media.is_video:
        raise ValueError(f"{media.path} is an image; expected a video")
    follower = Follower(pipeline, detect_every=detect_every, smooth=False)
    collector = MotionCollector(pipeline.estimator.session.info.skeleton.joints)
    stretch = np.array([float(media.pixel_aspect), 1.0], np.float32)
    try:
        for frame in media.frames:
            (poses,) = follower.step([frame])
            square = dataclasses.replace(
                poses,
                points_image=poses.points_image * stretch,
                covariances_image=poses.covariances_image * stretch * stretch[:, None],
            )
            collector.add_poses(media.path.name, frame.timestamp_s, square)
            on_frame()
    except UnreadFramesError as error:
        _log.warning("%s", error)
    motions = collector.motions()
    if not motions:
        raise ValueError(f"no people are found in {media.path}; expected at least one")
    return motions
