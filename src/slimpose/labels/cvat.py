"""CVAT's description of a skeleton, for the Raw tab of a new task's labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from slimpose.formats.coco_document import category_entry
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton


def label_constructor(skeleton: Skeleton, poses: list[Poses]) -> list[dict[str, Any]]:
    """Return the label of type skeleton that CVAT needs before it imports COCO keypoints.

    The joints are where the largest of the poses has them; on a circle if there is none.

    Source:
        CVAT's documentation, "Raw format" of skeletons: an SVG of circles and lines.
    """
    points = _layout(skeleton, poses)
    circles = [
        f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x:.2f}" cy="{y:.2f}" '
        f'stroke-width="0.1" data-type="element node" data-element-id="{number}" '
        f'data-node-id="{number}" data-label-name="{name}"></circle>'
        for number, (name, (x, y)) in enumerate(
            zip(skeleton.joints, points.tolist(), strict=True), start=1
        )
    ]
    lines = [
        f'<line x1="{points[a, 0]:.2f}" y1="{points[a, 1]:.2f}" x2="{points[b, 0]:.2f}" '
        f'y2="{points[b, 1]:.2f}" stroke="black" data-type="edge" data-node-from="{a + 1}" '
        f'data-node-to="{b + 1}" stroke-width="0.5"></line>'
        for a, b in skeleton.limb_indices
    ]
    sublabels = [{"name": name, "attributes": [], "type": "points"} for name in skeleton.joints]
    return [
        {
            "name": category_entry(skeleton)["name"],
            "attributes": [],
            "type": "skeleton",
            "sublabels": sublabels,
            "svg": "".join([*lines, *circles]),
        }
    ]


def _layout(skeleton: Skeleton, poses: list[Poses]) -> np.ndarray:
    """Where the joints are drawn, 5..95."""
    joints = len(skeleton.joints)
    scores = [float(one.person_scores.max()) for one in poses if len(one)]
    if not scores:
        angles = [2 * math.pi * joint / joints for joint in range(joints)]
        return np.array([[50 + 45 * math.sin(a), 50 - 45 * math.cos(a)] for a in angles])
    best = max((one for one in poses if len(one)), key=lambda one: float(one.person_scores.max()))
    points = best.points_image[int(best.person_scores.argmax())].astype(np.float64)
    extent = max(1.0, float(np.ptp(points, axis=0).max()))
    return 5 + 90 * (points - points.min(axis=0)) / extent
