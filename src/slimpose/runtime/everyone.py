"""Everyone who may be in a frame, for hiding people: also those too uncertain to be returned."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

EVERYONE_SCORE = 0.1
"""Boxes that score more count, if that is less than what the detector's threshold asks for."""
HOLD_S = 0.5
"""Whoever is not found again in the same place is taken to be there for this long."""
_SAME_PLACE_IOU = 0.3


class Everyone:
    """Collects the people of one camera's frames, and keeps them in place for a moment.

    Detectors miss a person in single frames. Tracks bridge that, where there is one; a person who
    was found only once or twice, or faintly, has none.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Poses]] = deque()

    def update(self, timestamp_s: float, observed: Poses, expected: Poses) -> Poses:
        """Return everyone in a frame.

        Args:
            timestamp_s: Time of the frame.
            observed: Poses of the frame, and boxes without one (``boxes_only``).
            expected: Where tracks that have no pose in this frame expect theirs.

        Returns:
            The observed people, and those expected or held with person scores of 0.
        """
        while self._recent and timestamp_s - self._recent[0][0] > HOLD_S:
            self._recent.popleft()
        everyone = [observed, _without_scores(expected)]
        boxes = np.concatenate([observed.boxes_image, expected.boxes_image])
        for _, poses in reversed(self._recent):
            overlap = geometry.box_iou(poses.boxes_image, boxes).max(axis=1, initial=0.0)
            held = poses[overlap < _SAME_PLACE_IOU]
            everyone.append(_without_scores(held))
            boxes = np.concatenate([boxes, held.boxes_image])
        self._recent.append((timestamp_s, observed))
        return concatenate(everyone)


def boxes_only(boxes_image: Boxes, skeleton: Skeleton) -> Poses:
    """Return people of whom nothing is known but their boxes (n, 4): all scores are 0."""
    count, joints = len(boxes_image), len(skeleton.joints)
    return Poses(
        points_image=np.zeros((count, joints, 2), np.float32),
        scores=np.zeros((count, joints), np.float32),
        covariances_image=np.zeros((count, joints, 2, 2), np.float32),
        boxes_image=boxes_image,
        person_scores=np.zeros(count, np.float32),
        ids=np.full(count, -1, np.int64),
        skeleton=skeleton,
    )


def concatenate(parts: Sequence[Poses]) -> Poses:
    """Return the people of several results of one skeleton in one."""
    names = [
        one.name for one in dataclasses.fields(Poses) if one.name not in ("skeleton", "preview")
    ]
    arrays = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
    return Poses(**arrays, skeleton=parts[0].skeleton)


def _without_scores(poses: Poses) -> Poses:
    return dataclasses.replace(poses, person_scores=np.zeros(len(poses), np.float32))
