from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from slimpose.arrays import Size
from slimpose.geometry import MIN_BOX_PX
from slimpose.runtime.detector import Detector
from slimpose.runtime.session import Session
from synthetic_models import CANVAS, dot_image, write_detector_model


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(write_detector_model(tmp_path / "detector.onnx"), threads=1)


@pytest.mark.parametrize("size", [Size(96, 96), Size(48, 96), Size(480, 640), Size(30, 20)])
def test_boxes_are_in_image_pixels_and_one_per_person(session: Session, size: Size) -> None:
    scale = min(96 / size.height, 96 / size.width)
    x, y = size.width // 2, size.height // 3
    image = np.full((*size, 3), 20, np.uint8)
    radius = max(1, round(2 / scale))
    cv2.circle(image, (x, y), radius, (255, 255, 255), cv2.FILLED)
    boxes, scores = Detector(session)(image)
    assert scores.shape == (1,)
    # The synthetic model picks the first brightest pixel, in the dot's upper part.
    expected = np.array([x - 16 / scale, y - 24 / scale, x + 16 / scale, y + 24 / scale])
    expected = np.clip(expected, -0.5, [size.width - 0.5, size.height - 0.5] * 2)
    np.testing.assert_allclose(boxes[0], expected, atol=3 / scale + radius)


def test_threshold_replaces_the_models_own(session: Session) -> None:
    image = dot_image(CANVAS, 48, 48)
    assert len(Detector(session, score_threshold=0.95)(image)[1]) == 0
    assert len(Detector(session, score_threshold=0.05)(image)[1]) == 2  # the unlikely one too
    with pytest.raises(ValueError, match=r"score threshold is 1\.5"):
        Detector(session, score_threshold=1.5)


def test_image_too_small_for_a_person_has_no_boxes(session: Session) -> None:
    side = int(MIN_BOX_PX) - 1
    for size in (Size(1, 1), Size(side, 100), Size(100, side)):
        boxes, scores = Detector(session, score_threshold=0.0)(np.full((*size, 3), 255, np.uint8))
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)
