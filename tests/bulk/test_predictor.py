"""``PosePredictor`` without an engine; see ``test_ray.py`` and the page bulk for engines."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import slimpose
from run_cli import write_dot
from slimpose.arrays import Size
from slimpose.ray import PosePredictor
from synthetic_models import dot_image


@pytest.fixture
def predictor(pose: Path, detector: Path) -> PosePredictor:
    return PosePredictor(model=pose, detector=detector)


def test_row_per_person_with_the_other_columns(predictor: PosePredictor) -> None:
    size = Size(96, 96)
    images = np.stack([dot_image(size, 30, 40), np.zeros((96, 96, 3)), dot_image(size, 60, 50)])
    batch = {"image": images.astype(np.uint8), "name": np.array(["a", "b", "c"])}
    found = pickle.loads(pickle.dumps(predictor))(batch)
    assert found["name"].tolist() == ["a", "c"]
    assert "image" not in found
    assert (found["track_id"] == -1).all()
    pipeline = slimpose.load(**predictor._options)
    for row, image in enumerate((images[0], images[2])):
        poses = pipeline(image.astype(np.uint8))
        np.testing.assert_allclose(found["keypoints"][row, :, :2], poses.points_image[0], atol=1e-3)
        np.testing.assert_allclose(found["box"][row], poses.boxes_image[0])
        np.testing.assert_allclose(
            found["covariances"][row, :, 2], poses.covariances_image[0, :, 0, 1], atol=1e-3
        )


def test_images_that_cannot_be_read(
    predictor: PosePredictor, pose: Path, detector: Path, tmp_path: Path
) -> None:
    dot = write_dot(str(tmp_path / "dot.png"))
    batch = {"image": np.array([dot.read_bytes(), b"broken"], object), "name": np.array(["a", "b"])}
    with pytest.raises(slimpose.ImagesError):
        predictor(batch)
    lenient = PosePredictor(on_error="none", model=pose, detector=detector)
    assert lenient(batch)["name"].tolist() == ["a"]


def test_errors_name_what_is_expected(predictor: PosePredictor) -> None:
    with pytest.raises(KeyError, match=r"no column 'image'; expected one of path"):
        predictor({"path": np.array(["a.png"])})
    with pytest.raises(ValueError, match="on_error is 'skip'"):
        PosePredictor(on_error="skip")  # pyright: ignore[reportArgumentType]
