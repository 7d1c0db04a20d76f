"""A drawn person for synthetic videos: the networks take as long for it as for a photo."""

from __future__ import annotations

import cv2
import numpy as np

from slimpose.measure.synthetic_video import PersonPatch


def drawn_person() -> PersonPatch:
    """Return a drawn person."""
    rgb = np.full((260, 110, 3), 150, np.uint8)
    cv2.circle(rgb, (55, 30), 18, (205, 160, 130), cv2.FILLED)
    cv2.rectangle(rgb, (35, 50), (75, 140), (60, 90, 160), cv2.FILLED)
    for ends in (((35, 55), (15, 135)), ((75, 55), (95, 135))):
        cv2.line(rgb, *ends, (205, 160, 130), 12)
    for ends in (((45, 140), (42, 245)), ((65, 140), (68, 245))):
        cv2.line(rgb, *ends, (40, 40, 60), 18)
    return PersonPatch(rgb=rgb, box=np.array([8, 10, 102, 252], np.float32))
