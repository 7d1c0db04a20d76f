from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slimpose.runtime.estimator import MAX_BATCH, PoseEstimator
from slimpose.runtime.session import Session
from synthetic_models import write_pose_model


@pytest.fixture
def estimator(tmp_path: Path) -> PoseEstimator:
    return PoseEstimator(Session(write_pose_model(tmp_path / "pose.onnx"), threads=1))


def random_people(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of noise, and boxes in it."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    corners = rng.uniform((0, 0), (100, 60), (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 60, (count, 2))], axis=1)
    return image, boxes.astype(np.float32)


def test_points_and_covariances_are_in_image_pixels(estimator: PoseEstimator) -> None:
    # With its padding the box is 50 pixels high, and the crop is 64: scale 64/50.
    image = np.zeros((100, 80, 3), np.uint8)
    image[50, 40] = 255
    poses = estimator(image, np.array([[30, 30, 50, 70]], np.float32))
    scale = 64 / 50
    np.testing.assert_allclose(poses.points_image[0, 0], [40, 50], atol=0.6)
    np.testing.assert_allclose(
        poses.points_image[0, 16] - poses.points_image[0, 0], [4 / scale, 0], atol=1e-3
    )
    np.testing.assert_allclose(poses.covariances_image[0, 5], np.eye(2) / scale**2, rtol=1e-4)
    np.testing.assert_array_equal(poses.ids, [-1])


@pytest.mark.parametrize("count", [8, MAX_BATCH, MAX_BATCH + 3])
def test_batch_has_the_same_results_as_single_calls(estimator: PoseEstimator, count: int) -> None:
    image, boxes = random_people(count)
    together = estimator(image, boxes)
    alone = [estimator(image, boxes[row : row + 1]) for row in range(count)]
    for field in ("points_image", "scores", "covariances_image", "person_scores", "boxes_image"):
        np.testing.assert_allclose(
            getattr(together, field),
            np.concatenate([getattr(one, field) for one in alone]),
            rtol=1e-5,
            atol=1e-4,
        )


def test_people_of_several_images_in_one_batch_are_kept_apart(estimator: PoseEstimator) -> None:
    image, boxes = random_people(5)
    ones, other = np.ones(5, np.float32), np.ascontiguousarray(image[::-1])
    results = estimator.estimate_many(
        [(image, boxes, ones), (other, boxes[:0], ones[:0]), (other, boxes[:2], ones[:2])]
    )
    assert [len(result) for result in results] == [5, 0, 2]
    np.testing.assert_allclose(
        results[0].points_image, estimator(image, boxes).points_image, atol=1e-4
    )
    np.testing.assert_allclose(
        results[2].points_image, estimator(other, boxes[:2]).points_image, atol=1e-4
    )
    assert estimator.estimate_many([]) == []


def test_very_wide_image_is_cropped_like_a_small_one(estimator: PoseEstimator) -> None:
    image = np.zeros((60, 40_000, 3), np.uint8)  # OpenCV counts a warp's source pixels in 16 bits
    image[30, 39_900] = 255
    poses = estimator(image, np.array([[39_880, 10, 39_920, 50]], np.float32))
    np.testing.assert_allclose(poses.points_image[0, 0], [39_900, 30], atol=1.0)
