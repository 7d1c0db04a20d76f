"""A second opinion of a pose model: the same boxes in the mirrored image."""

from __future__ import annotations

import numpy as np

from slimpose.arrays import Boxes, Image
from slimpose.poses import Poses
from slimpose.runtime.estimator import PoseEstimator


def mirrored_points(
    image: Image, boxes_image: Boxes, estimator: PoseEstimator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints (n, joints, 2) and scores (n, joints) of boxes in the mirrored image.

    They are those of the image itself: positions are mirrored back, left and right exchanged.
    """
    last = image.shape[1] - 1
    boxes = boxes_image[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    boxes[:, [0, 2]] += last
    found: Poses = estimator(np.ascontiguousarray(image[:, ::-1]), boxes)
    flip = found.skeleton.flip_indices
    points = found.points_image[:, flip] * np.array([-1, 1], np.float32)
    return points + np.array([last, 0], np.float32), found.scores[:, flip]
