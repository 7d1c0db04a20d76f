from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import slimpose
from slimpose.arrays import Size
from synthetic_models import CANVAS, dot_image, write_detector_model, write_pose_model


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


def test_pipeline_takes_a_path_an_array_or_boxes(pose: Path, tmp_path: Path) -> None:
    detector = write_detector_model(tmp_path / "detector.onnx")
    pipeline = slimpose.load(pose, detector, threads=1)
    image = dot_image(Size(96, 96), 50, 40)
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), image)
    by_array, by_path, by_text = pipeline(image), pipeline(path), pipeline(str(path))
    np.testing.assert_array_equal(by_array.points_image, by_path.points_image)
    np.testing.assert_array_equal(by_array.points_image, by_text.points_image)
    by_boxes = pipeline(image, np.array([[30, 20, 70, 60], [0, 0, 90, 90]], np.float32))
    assert len(by_boxes) == 2
    _, stages_ms = pipeline.timed(image)
    assert stages_ms["detect"] > 0
    assert stages_ms["pose"] > 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((8, 8), np.uint8),
            r"uint8 \(8, 8\); expected uint8 \(height, width, 3\), RGB \(gray\?",
        ),
        (np.zeros((8, 8, 1), np.uint8), "gray"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \(8, 8, 3\); .*\(0..1\?"),
        (np.zeros((8, 8, 4), np.uint8), "transparency"),
        (np.zeros((3, 8, 8), np.uint8), "channels first"),
        (np.zeros((2, 8, 8, 3), np.uint8), "a batch"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\); expected"),
    ],
)
def test_array_that_is_not_an_rgb_image_is_rejected(
    pose: Path, image: np.ndarray, message: str
) -> None:
    with pytest.raises(slimpose.ImageError, match=message):
        slimpose.load(pose, None)(image, np.array([[0, 0, 5, 5]], np.float32))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 10, 5, 20]], "box has no area: x1=10 y1=10 x2=5 y2=20"),
        ([[0, 0, np.nan, 20]], "box has no area"),
        (
            [[1, 1, 9, 9], [96, 0, 120, 20]],
            "box lies outside the image: x1=96 .*96 wide and 96 high",
        ),
        ([[-20, 0, -1, 20]], "outside the image"),
        ([0, 0, 5, 5], r"boxes have shape \(4,\); expected \(n, 4\)"),
    ],
)
def test_invalid_boxes_are_rejected(pose: Path, boxes: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slimpose.load(pose, None)(dot_image(CANVAS, 5, 5), np.array(boxes, np.float32))


def test_image_without_detector_and_boxes_is_rejected(pose: Path) -> None:
    with pytest.raises(ValueError, match="no detector"):
        slimpose.load(pose, None)(dot_image(CANVAS, 5, 5))
