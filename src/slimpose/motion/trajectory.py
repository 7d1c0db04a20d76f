"""``Motion``: the keypoints of one person over the frames of a video, and what collects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from slimpose.messages import quoted
from slimpose.poses import NOT_TRACKED, Poses

MIN_FRAMES = 5
"""Fewer frames of a person are no motion: there is nothing to smooth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """The keypoints of one person, as they were found.

    Attributes:
        source: Where the person was found, such as the name of a video.
        track_id: The person's id; -1 without tracking.
        joints: The names of the keypoints.
        times_s: (n,) increasing; the intervals may differ.
        points_image: (n, joints, 2) x, y in image pixels.
        scores: (n, joints) 0..1.
        covariances_image: (n, joints, 2, 2) square pixels; unit matrices where they are not known.
    """

    source: str
    track_id: int
    joints: tuple[str, ...]
    times_s: Float64[np.ndarray, " n"]
    points_image: Float64[np.ndarray, "n joints 2"]
    scores: Float64[np.ndarray, "n joints"]
    covariances_image: Float64[np.ndarray, "n joints 2 2"]

    @property
    def name(self) -> str:
        """The person and the source, for messages."""
        person = "the person" if self.track_id == NOT_TRACKED else f"person {self.track_id}"
        return f"{person} in {self.source}"


def select(
    motions: Sequence[Motion], *, track_id: int | None = None, source: str | None = None
) -> Motion:
    """Return the motion of one person: by default of the one who is in the most frames.

    Raises:
        ValueError: If there is no such person or source, there are several sources and none is
            named, or the person is in fewer than 5 frames.
    """
    sources = list(dict.fromkeys(motion.source for motion in motions))
    if source is None and len(sources) > 1:
        raise ValueError(f"there are {len(sources)} sources, {quoted(sources)}; expected --source")
    if source is not None and source not in sources:
        raise ValueError(f"--source is {quoted(source)}; expected one of {quoted(sources)}")
    people = [motion for motion in motions if source in (None, motion.source)]
    if track_id is not None:
        ids = sorted({motion.track_id for motion in people})
        people = [motion for motion in people if motion.track_id == track_id]
        if not people:
            known = "none: no person was tracked" if ids in ([], [NOT_TRACKED]) else quoted(ids)
            raise ValueError(f"--id is {track_id}; expected one of the ids {known}")
    if not people:
        raise ValueError("there are no people; expected at least one")
    motion = max(people, key=lambda one: len(one.times_s))
    if (count := len(motion.times_s)) < MIN_FRAMES:
        raise ValueError(
            f"{motion.name} is in {count} {'frame' if count == 1 else 'frames'}; expected "
            f"{MIN_FRAMES} or more (a video, not an image?)"
        )
    return motion


@dataclass(slots=True, kw_only=True)
class _Samples:
    times_s: list[float] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    covariances: list[np.ndarray] = field(default_factory=list)


@dataclass(slots=True)
class MotionCollector:
    """Collects people frame by frame.

    Attributes:
        joints: The names of the keypoints.
    """

    joints: tuple[str, ...]
    _people: dict[tuple[str, int], _Samples] = field(default_factory=dict)
    _last_s: dict[str, float] = field(default_factory=dict)

    def start_frame(self, source: str, time_s: float) -> None:
        """Start the next frame of a source.

        Raises:
            ValueError: If its time is not after that of the frame before.
        """
        last_s = self._last_s.get(source)
        if last_s is not None and time_s <= last_s:
            raise ValueError(
                f"the time {time_s:g} s of {source} follows {last_s:g} s; expected times that "
                "increase (two runs in one file, or sorted by something else?)"
            )
        self._last_s[source] = time_s

    def add(
        self,
        source: str,
        track_id: int,
        points_image: np.ndarray,
        scores: np.ndarray,
        covariances_image: np.ndarray,
    ) -> None:
        """Add a person to the frame that was started last.

        Raises:
            ValueError: If the person is there already.
        """
        samples = self._people.setdefault((source, track_id), _Samples())
        time_s = self._last_s[source]
        if samples.times_s and samples.times_s[-1] == time_s:
            if track_id == NOT_TRACKED:
                raise ValueError(
                    f"at {time_s:g} s of {source} there are two people without ids; expected ids "
                    "(a video, without --no-track) or one person per frame"
                )
            raise ValueError(
                f"at {time_s:g} s of {source} there are two people with the id {track_id}; "
                "expected one (two runs in one file?)"
            )
        samples.times_s.append(time_s)
        samples.points.append(points_image)
        samples.scores.append(scores)
        samples.covariances.append(covariances_image)

    def add_poses(self, source: str, time_s: float, poses: Poses) -> None:
        """Add the people of a frame; those without an id only if they are alone.

        Raises:
            ValueError: As ``start_frame`` and ``add``.
        """
        self.start_frame(source, time_s)
        for row, track_id in enumerate(poses.ids):
            self.add(
                source,
                int(track_id),
                poses.points_image[row],
                poses.scores[row],
                poses.covariances_image[row],
            )

    def motions(self) -> list[Motion]:
        """Return the people, in the order in which they appeared."""
        return [
            Motion(
                source=source,
                track_id=track_id,
                joints=self.joints,
                times_s=np.array(samples.times_s),
                points_image=np.array(samples.points, np.float64),
                scores=np.array(samples.scores, np.float64),
                covariances_image=np.array(samples.covariances, np.float64),
            )
            for (source, track_id), samples in self._people.items()
        ]


def frame_numbers(times_s: Float64[np.ndarray, " n"], interval_s: float) -> Int64[np.ndarray, " n"]:
    """Return each time's number on a grid of about this interval; missing frames leave gaps."""
    steps = np.maximum(np.rint(np.diff(times_s) / interval_s), 1)
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
