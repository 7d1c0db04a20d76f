"""The follower, with models whose outputs are easy to compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from slimpose.arrays import Size
from slimpose.media.frame import Frame
from slimpose.media.images import ImageError
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline

SIZE = Size(192, 192)
"""Twice the canvas of the detector: its person is 64x96 pixels."""


@pytest.fixture(scope="module")
def pipeline(figure_pipeline: Pipeline) -> Pipeline:
    return figure_pipeline


def light(x: float, y: float, *, brightness: int = 255, size: Size = SIZE) -> np.ndarray:
    """Return a dark image with a block of 5x5 light pixels at x, y."""
    image = np.full((*size, 3), 20, np.uint8)
    column, row = round(x), round(y)
    image[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = brightness
    return image


def frame(image: np.ndarray, at_s: float, camera: int = 0) -> Frame:
    return Frame(camera=camera, image=image, timestamp_s=at_s)


def center(poses: Poses) -> np.ndarray:
    """Return the place of each person's light: about midway between the hips and the wrists."""
    return poses.points_image[:, [9, 10, 11, 12]].mean(axis=1)


def follow(
    follower: Follower, images: Sequence[np.ndarray], *, fps: float = 10.0
) -> tuple[list[Poses], list[int]]:
    """Return the people of each frame, and the indices of the frames with a detection."""
    results, detected = [], []
    for index, image in enumerate(images):
        before = follower.detections
        results += follower.step([frame(image, index / fps)])
        if follower.detections > before:
            detected.append(index)
    return results, detected


# when the detector runs


def test_detector_runs_on_every_eighth_frame_and_all_frames_have_the_person(
    pipeline: Pipeline,
) -> None:
    results, detected = follow(
        Follower(pipeline), [light(60 + 2 * index, 100) for index in range(25)]
    )
    assert detected == [0, 8, 16, 24]
    assert [poses.ids.tolist() for poses in results] == [[1]] * 25
    for index, poses in enumerate(results):
        np.testing.assert_allclose(center(poses)[0], [60 + 2 * index, 100], atol=6)


def test_new_person_triggers_the_detector(pipeline: Pipeline) -> None:
    images = [np.full((*SIZE, 3), 20, np.uint8)] * 12
    for index in range(4, 12):
        images[index] = light(100, 100)
        body = images[index][70:130, 85:115]  # large enough for the motion gate
        body[:] = np.maximum(body, 90)
    results, detected = follow(Follower(pipeline, detect_every=16), images)
    assert detected[:2] == [0, 4]
    assert [len(poses) for poses in results] == [0, 0, 0, 0, 0, 0, *[1] * 6]


def test_lost_person_triggers_the_detector(pipeline: Pipeline) -> None:
    images = [light(100, 100)] * 5 + [light(100, 100, brightness=25)] * 20
    _, detected = follow(Follower(pipeline, detect_every=40), images)
    assert detected[0] == 0
    assert any(5 < index <= 15 for index in detected)


def test_triggered_detections_are_limited(pipeline: Pipeline) -> None:
    # Something large flickers where there is no person.
    rng = np.random.default_rng(0)
    images = []
    for _ in range(64):
        image = np.full((*SIZE, 3), 20, np.uint8)
        x, y = rng.integers(0, 130, 2)
        image[y : y + 60, x : x + 60] = 60
        images.append(image)
    _, detected = follow(Follower(pipeline, detect_every=16), images)
    assert min(np.diff(detected)) >= 4


def test_detections_of_cameras_alternate(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=4, detect_every=8)
    detections = []
    for index in range(33):
        before = follower.detections
        follower.step([frame(light(90, 90), index / 10, camera) for camera in range(4)])
        detections.append(follower.detections - before)
    assert detections[0] == 4  # the first frames
    assert max(detections[1:]) == 1
    assert sum(detections[1:]) in (15, 16)


# cameras


def test_people_of_all_cameras_are_estimated_in_one_batch(
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
    results = follower.step(
        [frame(light(40 + 50 * camera, 90), 0.0, camera) for camera in (2, 0, 1)]
    )
    assert batches == [3]
    np.testing.assert_allclose([center(poses)[0, 0] for poses in results], [140, 40, 90], atol=6)
    assert sorted(int(poses.ids[0]) for poses in results) == [1, 2, 3]


def test_camera_without_a_frame_does_not_affect_others(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 0.0, 0), frame(light(60, 90), 0.0, 1)])
    ids = [
        follower.step([frame(light(60, 90), index / 10, 1)])[0].ids.tolist()
        for index in range(1, 6)
    ]
    assert ids == [[2]] * 5
    assert follower.step([frame(light(60, 90), 0.6, 0)])[0].ids.tolist() == [1]
    assert follower.step([]) == []


def test_forgotten_camera_is_reset_with_its_time(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 500.0, 0), frame(light(60, 90), 500.0, 1)])
    follower.forget(0)
    results = follower.step([frame(light(60, 90), 0.0, 0), frame(light(60, 90), 500.1, 1)])
    assert [poses.ids.tolist() for poses in results] == [[3], [2]]


def test_new_frame_size_resets_the_camera(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, detect_every=100)
    follower.step([frame(light(60, 90), 0.0)])
    (poses,) = follower.step([frame(light(90, 60, size=Size(96, 128)), 0.1)])
    assert follower.detections == 2
    assert poses.ids.tolist() == [2]


# without ids, without smoothing


def test_without_tracking_results_equal_those_of_the_pipeline(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, track=False)
    for index in range(3):
        image = light(60 + 5 * index, 90)
        (poses,) = follower.step([frame(image, index / 10)])
        alone = pipeline(image)
        np.testing.assert_array_equal(poses.points_image, alone.points_image)
        np.testing.assert_array_equal(poses.ids, [NOT_TRACKED])
    assert follower.detections == 3


def test_smoothing_reduces_the_jitter_of_a_standing_person(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(0)
    images = [light(*(100 + 0.7 * rng.standard_normal(2))) for _ in range(40)]

    def jitter(*, smooth: bool) -> float:
        results, _ = follow(Follower(pipeline, smooth=smooth), images, fps=25.0)
        return float(np.abs(np.diff([center(poses)[0] for poses in results], n=2, axis=0)).mean())

    assert jitter(smooth=True) < 0.75 * jitter(smooth=False)


def test_every_stage_is_timed(pipeline: Pipeline) -> None:
    follower = Follower(pipeline)
    follower.step([frame(light(60, 90), 0.0)])
    assert set(follower.last_ms) == {"detect", "crop", "pose", "track"}
    assert all(follower.last_ms[stage] > 0 for stage in follower.last_ms)
    times: list[dict[str, float]] = []
    for index in range(1, 6):  # without a detection; several, for a busy machine
        follower.step([frame(light(60, 90), index / 10)])
        times.append(follower.last_ms)
    assert min(ms["detect"] for ms in times) < min(ms["pose"] for ms in times)


def test_id_is_kept_at_an_uneven_frame_rate(pipeline: Pipeline) -> None:
    follower, rng, at_s, ids = Follower(pipeline), np.random.default_rng(1), 0.0, set()
    for _ in range(40):
        at_s += float(rng.uniform(0.01, 0.3))
        ids |= set(follower.step([frame(light(40 + 12 * at_s, 90), at_s)])[0].ids.tolist())
    assert ids == {1}


# errors


def test_pipeline_without_a_detector_is_rejected(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="this pipeline has no detector; a Follower needs one"):
        Follower(Pipeline(estimator=pipeline.estimator, detector=None))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(2, 0.1)], r"there is no camera 2; expected 0\.\.1"),
        ([(0, 0.1), (0, 0.2)], "expected at most one frame of each per step"),
        ([(1, 0.1), (0, 0.0)], "camera 0: the time went from 0 s to 0 s; expected it to increase"),
        ([(1, 0.1), (0, float("nan"))], "camera 0: the time went from 0 s to nan s"),
    ],
)
def test_invalid_frames_are_rejected_and_change_nothing(
    pipeline: Pipeline, frames: list[tuple[int, float]], message: str
) -> None:
    follower = Follower(pipeline, cameras=2)
    follower.step([frame(light(60, 90), 0.0, camera) for camera in (0, 1)])
    with pytest.raises(ValueError, match=message):
        follower.step([frame(light(60, 90), at_s, camera) for camera, at_s in frames])
    results = follower.step([frame(light(60, 90), 0.05, camera) for camera in (0, 1)])
    assert [poses.ids.tolist() for poses in results] == [[1], [2]]


def test_empty_image_is_rejected(pipeline: Pipeline) -> None:
    with pytest.raises(ImageError, match=r"the image is uint8 \(0, 10, 3\)"):
        Follower(pipeline).step([frame(np.zeros((0, 10, 3), np.uint8), 0.0)])


def test_numbers_below_1_are_rejected(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="detect_every is 0; expected an integer of 1 or more"):
        Follower(pipeline, detect_every=0)


# slow frames


@pytest.mark.parametrize("detect_every", [1, 4, 30])
@pytest.mark.parametrize("interval_s", [1.0, 3.1, 5.0, 60.0])
def test_detector_runs_on_every_slow_frame_and_all_have_the_person(
    pipeline: Pipeline, detect_every: int, interval_s: float
) -> None:
    follower = Follower(pipeline, detect_every=detect_every)
    images = [light(60 + 3 * index, 100) for index in range(12)]
    results, detected = follow(follower, images, fps=1 / interval_s)
    assert detected == list(range(12))
    assert [len(poses) for poses in results] == [1] * 12


def test_person_in_one_slow_frame_is_found(pipeline: Pipeline) -> None:
    empty = np.full((*SIZE, 3), 20, np.uint8)
    images = [empty, empty, light(60, 100), empty, empty, light(130, 90), empty]
    results, _ = follow(Follower(pipeline), images, fps=0.2)
    assert [len(poses) for poses in results] == [0, 0, 1, 0, 0, 1, 0]


def test_slow_cameras_do_not_wait_for_each_other(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, cameras=4, detect_every=8)
    for index in range(6):
        frames = [frame(light(60 + 20 * camera, 90), 5.0 * index, camera) for camera in range(4)]
        assert [len(poses) for poses in follower.step(frames)] == [1] * 4


def test_stalled_stream_is_detected_at_once(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, detect_every=16)
    for index in range(5):
        follower.step([frame(light(60, 100), index / 10)])
    (poses,) = follower.step([frame(light(140, 100), 9.0)])
    assert follower.detections == 2
    assert poses.ids.tolist() == [2]
