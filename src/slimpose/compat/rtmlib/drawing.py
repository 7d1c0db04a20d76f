"""rtmlib's functions that draw onto BGR images."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose.draw import CENTER, RGB, draw_dot, draw_line, joint_colors
from slimpose.runtime.foreign.skeletons import WHOLE_BODY133, skeleton_of
from slimpose.skeleton import COCO17, OPENPOSE18, Skeleton

_OTHERS = slice(len(COCO17.joints), None)
_OPENPOSE134 = Skeleton(
    name="openpose134",
    joints=(*OPENPOSE18.joints, *WHOLE_BODY133.joints[_OTHERS]),
    limbs=(
        *OPENPOSE18.limbs,
        *(limb for limb in WHOLE_BODY133.limbs if not {*limb} <= {*COCO17.joints}),
    ),
    sigmas=(*OPENPOSE18.sigmas, *WHOLE_BODY133.sigmas[_OTHERS]),
    upper_body=OPENPOSE18.upper_body,
    flip_pairs=(),
)
_OPENPOSE = {len(skeleton.joints): skeleton for skeleton in (OPENPOSE18, _OPENPOSE134)}


def draw_skeleton(
    img: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    openpose_skeleton: bool = False,
    kpt_thr: float = 0.5,
    radius: float = 2,
    line_width: float = 2,
    *,
    to_openpose: bool = False,
) -> np.ndarray:
    """Draw people onto a BGR image and return it.

    Args:
        img: uint8 (height, width, 3).
        keypoints: (n, joints, 2), or (joints, 2) of one person.
        scores: (n, joints), or (joints,).
        openpose_skeleton: Whether 18 joints, or 134 with feet, face and hands, are OpenPose's.
        kpt_thr: Joints that score less are not drawn.
        radius: Of the joints, in pixels.
        line_width: Of the limbs, in pixels. Skeletons other than COCO's 17, Halpe's 26,
            COCO-WholeBody's 133 and OpenPose's 18 and 134 joints have none.
        to_openpose: The same as ``openpose_skeleton``: its name in rtmlib's README.
    """
    canvas = np.ascontiguousarray(img)
    people = np.asarray(keypoints, np.float32)
    if people.size == 0:
        return canvas
    people = people[None] if people.ndim == 2 else people
    shown = np.asarray(scores).reshape(people.shape[:2]) >= kpt_thr
    joints = people.shape[1]
    skeleton = _OPENPOSE.get(joints) if openpose_skeleton or to_openpose else None
    skeleton = skeleton or skeleton_of(joints)
    limbs = skeleton.limb_indices if skeleton is not None else []
    joints = joint_colors(skeleton) if skeleton is not None else [None] * people.shape[1]
    colors = [_bgr(color or CENTER) for color in joints]
    for points, is_shown in zip(people, shown, strict=True):
        for a, b in limbs:
            if is_shown[a] and is_shown[b]:
                color = colors[a] if colors[a] == colors[b] else _bgr(CENTER)
                draw_line(canvas, points[a], points[b], color, line_width)
        for joint in np.flatnonzero(is_shown):
            draw_dot(canvas, points[joint], colors[joint], radius)
    return canvas


def draw_bbox(
    img: np.ndarray, bboxes: np.ndarray, color: tuple[int, int, int] = (0, 255, 0)
) -> np.ndarray:
    """Draw boxes, x1, y1, x2, y2 in pixels, onto a BGR image and return it."""
    canvas = np.ascontiguousarray(img)
    for x1, y1, x2, y2 in np.asarray(bboxes)[:, :4].round().astype(int).tolist():
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, 2)
    return canvas


def _bgr(color: RGB) -> RGB:
    return color[2], color[1], color[0]
