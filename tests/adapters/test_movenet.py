from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreign_models import CROPS, JOINTS_PX, SIZE, write_movenet, write_multipose
from slimpose.adapters.movenet import MoveNet, MultiPose
from slimpose.adapters.open_model import open_pose_model
from slimpose.adapters.part_affinity import BottomUpEstimator
from slimpose.arrays import Size
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import pose_ap, pose_records
from slimpose.formats import coco
from slimpose.runtime.estimator import PoseEstimator
from slimpose.skeleton import COCO17

SHARED = Path(__file__).parents[3] / "shared"


def test_shares_of_the_crop_become_pixels(tmp_path: Path) -> None:
    model = MoveNet(write_movenet(tmp_path / "movenet.onnx"))
    points, scores = model.run(CROPS, ("points", "scores"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)
    assert (scores == 0.75).all()


def test_adapter_gives_poses_in_an_estimator(tmp_path: Path) -> None:
    estimator = PoseEstimator(MoveNet(write_movenet(tmp_path / "movenet.onnx")))
    image = np.zeros((200, 300, 3), np.uint8)
    # The crop shows the box at a scale of 0.8.
    poses = estimator(image, np.array([[50.0, 40.0, 98.0, 104.0]], np.float32))
    assert poses.skeleton is COCO17
    center = np.array([(SIZE.width - 1) / 2, (SIZE.height - 1) / 2])
    expected = (JOINTS_PX - center) / 0.8 + [74.0, 72.0]
    np.testing.assert_allclose(poses.points_image[0], expected, atol=0.01)


def test_multipose_finds_people_of_the_whole_image_best_first(tmp_path: Path) -> None:
    model = open_pose_model(write_multipose(tmp_path / "multi.onnx"))
    assert isinstance(model, MultiPose)
    assert (model.info.task, model.info.size) == ("bottom-up", SIZE)
    poses = BottomUpEstimator(model)(np.zeros((128, 96, 3), np.uint8))  # twice the input size
    np.testing.assert_allclose(poses.person_scores, [0.8, 0.3])
    second = 2 * JOINTS_PX + 0.5
    first = second + np.array([8, 0])
    np.testing.assert_allclose(poses.points_image, np.stack([first, second]), atol=0.01)
    box = [*second.min(axis=0), *second.max(axis=0)]
    np.testing.assert_allclose(poses.boxes_image[1], box, atol=0.01)
    message = "multi has no output heatmaps; expected some of points, scores, person_scores"
    with pytest.raises(ValueError, match=message):
        model.run(np.zeros((1, *SIZE, 3), np.uint8), ("heatmaps",))


def test_multipose_of_free_size_runs_at_256(tmp_path: Path) -> None:
    path = write_multipose(tmp_path / "multi.onnx", sides=("h", "w"))
    assert open_pose_model(path).info.size == Size(256, 256)
    with pytest.raises(
        ValueError, match=r"expected MoveNet MultiPose: one input \(1, height, width, 3\)"
    ):
        MultiPose(write_movenet(tmp_path / "movenet.onnx"))


def test_batch_of_another_size_is_rejected(tmp_path: Path) -> None:
    model = MoveNet(write_movenet(tmp_path / "movenet.onnx"))
    with pytest.raises(
        ValueError, match=r"batch is uint8 \(3, 48, 64, 3\); movenet expects uint8 \(n, 64, 48, 3\)"
    ):
        model.run(CROPS.transpose(0, 2, 1, 3), ("points",))
    message = "movenet has no output heatmaps; expected some of points, scores, covariances"
    with pytest.raises(ValueError, match=message):
        model.run(CROPS, ("heatmaps",))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "least_ap"), [("thunder", 0.55), ("lightning", 0.45)])
def test_published_movenet_finds_people_of_the_sample_photos(name: str, least_ap: float) -> None:
    path = SHARED / "peers" / f"movenet-{name}.onnx"
    annotations = SHARED / "data" / "demo" / "person_keypoints.json"
    if not path.exists() or not annotations.exists():
        pytest.skip("needs the published models and the labeled sample photos")
    model, truth = MoveNet(path, threads=1), coco.read(annotations, keypoints=True)
    records = pose_records(
        truth,
        Path(__file__).parents[2] / "examples" / "photos",
        ground_truth_boxes(truth),
        lambda batch: tuple(model.run(batch, ("points", "scores"))),  # pyright: ignore[reportArgumentType]
        crop_size=model.info.size,
    )
    assert pose_ap(truth, records)["AP"] > least_ap
