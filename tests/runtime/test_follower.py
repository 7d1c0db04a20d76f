"""People followed through frames of several cameras, with models whose answers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from slimpose.arrays import Size
from slimpose.media.images import ImageError
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.follower import CameraFrame, Follower
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from synthetic_models import CROP, write_detector_model, write_pose_model
from walkers import person

SIZE = Size(192, 192)
"""Twice the detector's canvas: its person is 64x96 pixels."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The detector finds who holds the brightest light; the pose model puts a standing figure about that light."""
    folder = tmp_path_factory.mktemp("models")
    pose = onnx.load(write_pose_model(folder / "pose.onnx"))
    (offsets,) = (tensor for tensor in pose.graph.initializer if tensor.name == "offsets")
    # As tall as a person in a crop of their box, so that a box drawn to the joints is the box
    # again.
    figure = person(0, 0, height_px=0.885 * CROP.height / 1.25)[None]
    offsets.CopyFrom(numpy_helper.from_array(figure, "offsets"))
    onnx.save(pose, folder / "pose.onnx")
    return Pipeline(
        estimator=PoseEstimator(Session(folder / "pose.onnx", threads=1)),
        detector=Detector(Session(write_detector_model(folder / "detector.onnx"), threads=1)),
    )


def light(x: float, y: float, *, brightness: int = 255, size: Size = SIZE) -> np.ndarray:
    """A dark picture with a block of 5x5 light pixels at x, y."""
    image = np.full((*size, 3), 20, np.uint8)
    column, row = round(x), round(y)
    image[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = brightness
    return image


def frame(image: np.ndarray, at_s: float, camera: int = 0) -> CameraFrame:
    return CameraFrame(camera=camera, image=image, timestamp_s=at_s)


def middle(poses: Poses) -> np.ndarray:
    """Where each person's light is: midway between the hips and the wrists, about."""
    return poses.points_image[:, [9, 10, 11, 12]].mean(axis=1)


def follow(
    follower: Follower, images: Sequence[np.ndarray], *, fps: float = 10.0
) -> tuple[list[Poses], list[int]]:
    """The people of each frame, and the frames that the detector looked at."""
    told, looked = [], []
    for index, image in enumerate(images):
        before = follower.detections
        told += follower.step([frame(image, index / fps)])
        if follower.detections > before:
            looked.append(index)
    return told, looked


# the detector's turns


def test_the_detector_looks_at_every_eighth_frame_and_the_person_is_there_in_all(
    pipeline: Pipeline,
) -> None:
    told, looked = follow(Follower(pipeline), [light(60 + 2 * index, 100) for index in range(25)])
    assert looked == [0, 8, 16, 24]
    assert [poses.ids.tolist() for poses in told] == [[1]] * 25
    for index, poses in enumerate(told):
        np.testing.assert_allclose(middle(poses)[0], [60 + 2 * index, 100], atol=6)


def test_somebody_who_appears_demands_the_detector(pipeline: Pipeline) -> None:
    images = [np.full((*SIZE, 3), 20, np.uint8)] * 12
    for index in range(4, 12):
        images[index] = light(100, 100)
        images[index][70:130, 85:115] = np.maximum(
            images[index][70:130, 85:115], 90
        )  # a body, for the watch
    told, looked = follow(Follower(pipeline, detect_every=16), images)
    assert looked[:2] == [0, 4]
    assert [len(poses) for poses in told] == [0, 0, 0, 0, 0, 0, *[1] * 6]


def test_a_person_who_is_lost_demands_the_detector(pipeline: Pipeline) -> None:
    images = [light(100, 100)] * 5 + [light(100, 100, brightness=25)] * 20
    _, looked = follow(Follower(pipeline, detect_every=40), images)
    assert looked[0] == 0
    assert any(5 < index <= 15 for index in looked)


def test_a_demand_does_not_run_the_detector_in_every_frame(pipeline: Pipeline) -> None:
    # Something large flickers where no person is found.
    rng = np.random.default_rng(0)
    images = []
    for _ in range(64):
        image = np.full((*SIZE, 3), 20, np.uint8)
        x, y = rng.integers(0, 130, 2)
        image[y : y + 60, x : x + 60] = 60
        images.append(image)
    _, looked = follow(Follower(pipeline, detect_every=16), images)
    assert min(np.diff(looked)) >= 4


def test_cameras_take_turns(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=4, detect_every=8)
    looks = []
    for index in range(33):
        before = follower.detections
        follower.step([frame(light(90, 90), index / 10, camera) for camera in range(4)])
        looks.append(follower.detections - before)
    assert looks[0] == 4  # everybody's first frame
    assert max(looks[1:]) == 1
    assert sum(looks[1:]) in (15, 16)


# cameras


def test_all_people_of_all_cameras_go_through_the_pose_model_in_one_batch(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    session = pipeline.estimator.session
    run = session.run

    def counted(batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        batches.append(len(batch))
        return run(batch, outputs)

    monkeypatch.setattr(session, "run", counted)
    follower = Follower(pipeline, cameras=3)
    told = follower.step([frame(light(40 + 50 * camera, 90), 0.0, camera) for camera in (2, 0, 1)])
    assert batches == [3]
    np.testing.assert_allclose([middle(poses)[0, 0] for poses in told], [140, 40, 90], atol=6)
    assert sorted(int(poses.ids[0]) for poses in told) == [1, 2, 3]


def test_a_camera_that_is_left_out_does_not_hold_the_others(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 0.0, 0), frame(light(60, 90), 0.0, 1)])
    ids = [
        follower.step([frame(light(60, 90), index / 10, 1)])[0].ids.tolist()
        for index in range(1, 6)
    ]
    assert ids == [[2]] * 5
    assert follower.step([frame(light(60, 90), 0.6, 0)])[0].ids.tolist() == [1]
    assert follower.step([]) == []


def test_a_forgotten_camera_starts_anew_and_its_time_too(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 500.0, 0), frame(light(60, 90), 500.0, 1)])
    follower.forget(0)
    told = follower.step([frame(light(60, 90), 0.0, 0), frame(light(60, 90), 500.1, 1)])
    assert [poses.ids.tolist() for poses in told] == [[3], [2]]


def test_a_picture_of_another_size_starts_the_camera_anew(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, detect_every=100)
    follower.step([frame(light(60, 90), 0.0)])
    told = follower.step([frame(light(90, 60, size=Size(96, 128)), 0.1)])
    assert follower.detections == 2
    assert told[0].ids.tolist() == [2]


# without ids, without smoothing


def test_without_tracks_every_frame_is_what_the_pipeline_makes_of_it(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, track=False)
    for index in range(3):
        image = light(60 + 5 * index, 90)
        (told,) = follower.step([frame(image, index / 10)])
        alone = pipeline(image)
        np.testing.assert_array_equal(told.points_image, alone.points_image)
        np.testing.assert_array_equal(told.ids, [NOT_TRACKED])
    assert follower.detections == 3


def test_smoothing_takes_the_jitter_of_somebody_who_stands(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(0)
    images = [light(*(100 + 0.7 * rng.standard_normal(2))) for _ in range(40)]

    def jitter(*, smooth: bool) -> float:
        told, _ = follow(Follower(pipeline, smooth=smooth), images, fps=25.0)
        return float(np.abs(np.diff([middle(poses)[0] for poses in told], n=2, axis=0)).mean())

    assert jitter(smooth=True) < 0.75 * jitter(smooth=False)


def test_every_stage_is_timed(pipeline: Pipeline) -> None:
    follower = Follower(pipeline)
    follower.step([frame(light(60, 90), 0.0)])
    assert set(follower.last_ms) == {"detect", "crop", "pose", "track"}
    assert all(follower.last_ms[stage] > 0 for stage in follower.last_ms)
    follower.step([frame(light(60, 90), 0.1)])
    assert follower.last_ms["detect"] < follower.last_ms["pose"]


def test_an_uneven_frame_rate_keeps_the_id(pipeline: Pipeline) -> None:
    follower, rng, at_s, numbers = Follower(pipeline), np.random.default_rng(1), 0.0, set()
    for _ in range(40):
        at_s += float(rng.uniform(0.01, 0.3))
        numbers |= set(follower.step([frame(light(40 + 12 * at_s, 90), at_s)])[0].ids.tolist())
    assert numbers == {1}


# errors


def test_a_pipeline_without_a_detector_is_told(pipeline: Pipeline) -> None:
    with pytest.raises(
        ValueError, match="this pipeline has no detector; following people needs one"
    ):
        Follower(Pipeline(estimator=pipeline.estimator, detector=None))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(2, 0.1)], r"there is no camera 2; expected 0\.\.1"),
        ([(0, 0.1), (0, 0.2)], "expected at most one frame of each a step"),
        ([(1, 0.1), (0, 0.0)], "camera 0: the time went from 0 s to 0 s; expected it to advance"),
        ([(1, 0.1), (0, float("nan"))], "camera 0: the time went from 0 s to nan s"),
    ],
)
def test_frames_that_do_not_fit_are_told_and_change_nothing(
    pipeline: Pipeline, frames: list[tuple[int, float]], message: str
) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 0.0, camera) for camera in (0, 1)])
    with pytest.raises(ValueError, match=message):
        follower.step([frame(light(60, 90), at_s, camera) for camera, at_s in frames])
    told = follower.step([frame(light(60, 90), 0.05, camera) for camera in (0, 1)])
    assert [poses.ids.tolist() for poses in told] == [[1], [2]]


def test_a_picture_that_is_none_is_told(pipeline: Pipeline) -> None:
    with pytest.raises(ImageError, match=r"the image is uint8 \(0, 10, 3\)"):
        Follower(pipeline).step([frame(np.zeros((0, 10, 3), np.uint8), 0.0)])


def test_numbers_under_one_are_told(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="detect_every is 0; expected 1 or more"):
        Follower(pipeline, detect_every=0)
