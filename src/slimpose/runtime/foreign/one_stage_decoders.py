"""Decoders of networks that find people and their joints in a whole image in one pass.

Outputs: "boxes" (n, k, 4) and "box_scores" (n, k), "points" (n, k, joints, 2) and "scores" (n, k,
joints), in input pixels as published (``box_decoders``). What is no person scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slimpose.runtime.foreign.box_decoders import (
    by_cells,
    corners,
    is_person,
    person_class,
    sigmoid,
)
from slimpose.runtime.foreign.facts import Arrays, Facts

_MIN_MULTIPOSE_SCORE = 0.1
"""MultiPose always gives six people; those below this score are discarded."""


def _people(
    boxes: np.ndarray, box_scores: np.ndarray, points: np.ndarray, scores: np.ndarray
) -> Arrays:
    found = {
        "boxes": boxes,
        "box_scores": box_scores,
        "points": points,
        "scores": scores.clip(0, 1),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def yolo_pose(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """YOLO pose without NMS inside: x, y, w, h, class scores, joints (n, 4 + classes + 3 J, cells).

    A joint is x, y and its score; without one it gets its person's.
    """
    found = by_cells(outputs[0], facts)
    first = found.shape[2] - facts.values * facts.joints
    people = person_class(found[..., 4:first], facts)
    boxes = corners(found[..., :2], found[..., 2:4])
    return _people(boxes, people, *_joints(found[..., first:], people, facts))


def yolo_pose_end_to_end(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """YOLO pose with NMS inside, YOLO26: x1, y1, x2, y2, score, class, joints (n, k, 6 + 3 J)."""
    found = outputs[0]
    people = found[..., 4] * is_person(found[..., 5], facts)
    return _people(found[..., :4], people, *_joints(found[..., 6:], people, facts))


def _joints(values: np.ndarray, people: np.ndarray, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """Return points and scores of joints (n, k, values * J) of people with these scores (n, k)."""
    joints = values.reshape(*values.shape[:2], facts.joints, facts.values)
    return joints[..., :2], _joint_scores(joints, people)


def _joint_scores(joints: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return the scores of joints (n, k, J, 2 or 3); their person's where they have none."""
    if joints.shape[-1] == 3:
        return joints[..., 2]
    return np.broadcast_to(people[..., None], joints.shape[:-1])


def rtmo(outputs: Sequence[np.ndarray], _facts: Facts) -> Arrays:
    """RTMO as MMDeploy exports it: dets (n, k, 5) and keypoints (n, k, J, 3), NMS inside.

    Source:
        Lu et al., "RTMO: Towards High-Performance One-Stage Real-Time Multi-Person Pose
        Estimation", CVPR 2024.
    """
    dets, joints = sorted(outputs, key=lambda array: array.ndim)
    return _people(dets[..., :4], dets[..., 4], joints[..., :2], joints[..., 2])


def detr_pose(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """DETRPose and ECPose, decoded: scores (n, k) and keypoints (n, k, J, 2 or 3) in pixels.

    Joints without a score of their own get their person's; boxes are those of the joints.

    Source:
        Janampa and Pattichis, "DETRPose: Real-time end-to-end transformer model for multi-person
        pose estimation", 2025; its ``PostProcess`` in deploy mode.
    """
    by_name = dict(zip(facts.names, outputs, strict=True))
    return _from_points(by_name["keypoints"], by_name["scores"])


def detr_pose_raw(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """DETRPose and ECPose before their decoding: pred_logits (n, k, classes), pred_keypoints.

    Keypoints (n, k, 2 J) are shares of the image, x and y of each joint.
    """
    by_name = dict(zip(facts.names, outputs, strict=True))
    scale = np.array([facts.size.width, facts.size.height], np.float32)
    points = by_name["pred_keypoints"]
    points = points.reshape(*points.shape[:2], facts.joints, 2) * scale
    return _from_points(points, sigmoid(by_name["pred_logits"]).max(axis=-1))


def _from_points(points: np.ndarray, people: np.ndarray) -> Arrays:
    joints, points = _joint_scores(points, people), points[..., :2]
    boxes = np.concatenate([points.min(axis=2), points.max(axis=2)], axis=-1)
    return _people(boxes, people, points, joints)


def multipose(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """MoveNet MultiPose (n, 6, 56): 17 x (y, x, score), ymin, xmin, ymax, xmax, score; 0..1.

    Source:
        https://www.kaggle.com/models/google/movenet/tensorFlow2/multipose-lightning
    """
    people = next(array for array in outputs if array.shape[-2:] == (6, 56))
    joints = people[..., :51].reshape(*people.shape[:2], 17, 3)
    scale = np.array([facts.size.width, facts.size.height], np.float32)
    boxes = people[..., [52, 51, 54, 53]] * np.tile(scale, 2)
    scores = people[..., 55] * (people[..., 55] >= _MIN_MULTIPOSE_SCORE)
    # Shares from the image's outer border, as of MoveNet SinglePose.
    return _people(boxes - 0.5, scores, joints[..., 1::-1] * scale - 0.5, joints[..., 2])
