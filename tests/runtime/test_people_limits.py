from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from foreign_models import DETECTOR_SIZE, people_outputs, write_outputs
from slimpose import load
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.media.frame import Frame
from slimpose.poses import Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.follower import Follower
from slimpose.runtime.people_limits import PeopleLimits, largest_people
from slimpose.runtime.pipeline import Pipeline
from synthetic_models import CROP, dot_image, write_detector_model, write_pose_model
from walkers import person

SIZE = Size(200, 600)
DOT = Size(96, 96)
SMALL, MIDDLE, LARGE = [-4, -6, 4, 6], [12, -10, 26, 10], [-40, -16, -18, 16]


PROGRAM = """
import math, slimpose
pipeline = slimpose.load("mnv2", threads=1)
for call in (
    lambda: slimpose.load("mnv2", threads=1.5),
    lambda: slimpose.load("mnv2", max_people=2.5),
    lambda: slimpose.Follower(pipeline, detect_every=1.5),
    lambda: slimpose.Follower(pipeline, detect_every=math.nan),
    lambda: slimpose.Follower(pipeline, detect_every="2"),
    lambda: slimpose.Follower(pipeline, cameras=1.5),
):
    try:
        print("accepted", call())
    except ValueError as error:
        print(error)
"""
"""Run by itself: in the tests the types of all arguments are checked."""


def test_numbers_that_are_no_integers_are_rejected() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "threads is 1.5; expected 1..1024 (leave it out for an automatic choice)",
        "max_people is 2.5; expected an integer of 1 or more",
        "detect_every is 1.5; expected an integer of 1 or more",
        "detect_every is nan; expected an integer of 1 or more",
        "detect_every is '2'; expected an integer of 1 or more",
        "cameras is 1.5; expected an integer of 1 or more",
    ]


def test_largest_people_keep_their_order() -> None:
    boxes = np.array([[0, 0, 5, 5], [0, 0, 1, 1], [0, 0, 9, 9]], np.float32)
    assert largest_people(boxes, 2).tolist() == [0, 2]
    assert largest_people(boxes, 1).tolist() == [2]
    assert largest_people(boxes, None).tolist() == largest_people(boxes, 9).tolist() == [0, 1, 2]
    assert largest_people(boxes[:0], 1).tolist() == []


def test_preferred_person_is_replaced_by_a_clearly_larger_one() -> None:
    known = np.array([True, False])
    for other, kept in ((1.25, 0), (1.35, 1)):
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10 * other]], np.float32)
        assert largest_people(boxes, 1, preferred=known).tolist() == [kept]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PeopleLimits(conf=1.5), r"conf is 1\.5; expected a number 0\.\.1"),
        (lambda: PeopleLimits(max_people=0), "max_people is 0; expected an integer of 1 or more"),
        (lambda: load(max_people=-1), "max_people is -1; expected an integer of 1 or more"),
        (lambda: load(conf=-1.0), r"conf is -1; expected a number 0\.\.1"),
        (
            lambda: Follower(load(), cameras=2, limits=[PeopleLimits()]),
            "there are limits for 1 cameras; expected 2, one each",
        ),
    ],
)
def test_invalid_limits_are_rejected(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """A pose model, and a detector of three people that score 0.9, 0.5 and 0.4."""
    detector = write_detector_model(
        tmp_path / "detector.onnx", offsets=[SMALL, MIDDLE, LARGE], scores=[0.9, 0.5, 0.4]
    )
    return write_pose_model(tmp_path / "pose.onnx"), detector


def widths(poses: Poses) -> list[int]:
    return [round(float(x2 - x1)) for x1, _, x2, _ in poses.boxes_image]


def test_pipeline_keeps_the_largest_people_over_the_threshold(models: tuple[Path, Path]) -> None:
    image = dot_image(DOT, 50, 40)
    small, middle, large = 8, 14, 22
    assert widths(load(*models, threads=1)(image)) == [small, middle, large]
    assert widths(load(*models, threads=1, max_people=2)(image)) == [middle, large]
    assert widths(load(*models, threads=1, max_people=1)([image])[0]) == [large]
    assert widths(load(*models, threads=1, conf=0.45)(image)) == [small, middle]
    assert widths(load(*models, threads=1, conf=0.45, max_people=1)(image)) == [middle]
    given = np.array([[10, 10, 30, 50], [40, 10, 90, 90]], np.float32)
    assert len(load(*models, threads=1, max_people=1)(image, given)) == 2  # as they are given


def test_cameras_have_limits_of_their_own(models: tuple[Path, Path]) -> None:
    pipeline = load(*models, threads=1)
    limits = [PeopleLimits(), PeopleLimits(max_people=1), PeopleLimits(conf=0.6)]
    follower = Follower(pipeline, cameras=3, track=False, limits=limits)
    image = dot_image(DOT, 50, 40)

    def counts(at_s: float) -> list[int]:
        frames = [Frame(image=image, timestamp_s=at_s, camera=camera) for camera in range(3)]
        return [len(poses) for poses in follower.step(frames)]

    assert counts(0.0) == [3, 1, 1]
    follower.limits[2] = PeopleLimits(conf=0.45)
    assert counts(0.1) == [3, 1, 2]


def test_one_stage_models_have_limits_of_each_camera(tmp_path: Path) -> None:
    outputs = people_outputs(17)["rtmo"]
    outputs["dets"][0, 1] = [2, 2, 6, 9, 0.8]  # a small person
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, outputs)
    image = np.zeros((*DETECTOR_SIZE, 3), np.uint8)
    all_people = load(path, conf=0.0)(image)
    assert len(all_people) == 2
    largest = all_people[largest_people(all_people.boxes_image, 1)]
    (one,) = load(path, conf=0.0, max_people=1)([image])
    np.testing.assert_array_equal(one.points_image, largest.points_image)
    limits = [PeopleLimits(conf=0.0), PeopleLimits(conf=1.0), PeopleLimits(conf=0.0, max_people=1)]
    follower = Follower(load(path), cameras=3, track=False, limits=limits)
    frames = [Frame(image=image, timestamp_s=0.0, camera=camera) for camera in range(3)]
    assert [len(poses) for poses in follower.step(frames)] == [len(all_people), 0, 1]


class KnownBoxes(Detector):
    """A detector that returns the boxes it is given."""

    boxes = np.zeros((0, 4), np.float32)

    def __call__(
        self,
        image: Image,  # noqa: ARG002
        *,
        score_threshold: float | None = None,  # noqa: ARG002
    ) -> tuple[Boxes, PersonScores]:
        return self.boxes, np.full(len(self.boxes), 0.9, np.float32)


@pytest.fixture
def standing(tmp_path: Path) -> Pipeline:
    """A pose model that places a standing person around a light, and known boxes."""
    pose = onnx.load(write_pose_model(tmp_path / "pose.onnx"))
    (offsets,) = (tensor for tensor in pose.graph.initializer if tensor.name == "offsets")
    figure = person(0, 0, height_px=0.885 * CROP.height / 1.25)[None]
    offsets.CopyFrom(numpy_helper.from_array(figure, "offsets"))
    onnx.save(pose, tmp_path / "pose.onnx")
    pipeline = load(
        tmp_path / "pose.onnx", write_detector_model(tmp_path / "detector.onnx"), threads=1
    )
    assert pipeline.detector is not None
    pipeline.detector = KnownBoxes(pipeline.detector.session)
    return pipeline


def show(pipeline: Pipeline, *heights: float) -> Image:
    """Return an image with a light in each of the boxes of these heights, which are detected."""
    centers = [(60 + 110 * number, 100) for number in range(len(heights))]
    boxes = [
        [x - height / 3, y - height / 2, x + height / 3, y + height / 2]
        for (x, y), height in zip(centers, heights, strict=True)
    ]
    assert isinstance(pipeline.detector, KnownBoxes)
    pipeline.detector.boxes = np.array(boxes, np.float32)
    image = np.full((*SIZE, 3), 20, np.uint8)
    for x, y in centers:
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def test_tracked_people_of_about_one_size_do_not_alternate(standing: Pipeline) -> None:
    standing.limits = PeopleLimits(max_people=1)
    follower = Follower(standing, detect_every=1)
    ids = []
    for number in range(12):
        image = show(standing, 80 + 5 * (number % 2), 82, 60)
        (poses,) = follower.step([Frame(image=image, timestamp_s=number / 25)])
        ids.append(poses.ids.tolist())
    assert ids == [ids[0]] * 12
    assert len(ids[0]) == 1


def test_clearly_larger_person_replaces_a_tracked_one_and_gives_the_place_back(
    standing: Pipeline,
) -> None:
    standing.limits = PeopleLimits(max_people=1)
    follower = Follower(standing, detect_every=1, smooth=False)
    ids = []
    for number in range(80):
        other = 50 + 60 * np.sin(np.pi * number / 79) ** 2  # comes closer and goes away
        image = show(standing, 80, float(other))
        (poses,) = follower.step([Frame(image=image, timestamp_s=number / 25)])
        ids += poses.ids.tolist()
    changes = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist()]
    assert [ids[change] for change in changes] == [1, 2, 1]
    assert len(ids) == 80


def test_detector_is_not_requested_for_people_who_are_too_many(standing: Pipeline) -> None:
    standing.limits = PeopleLimits(max_people=1)
    follower = Follower(standing, detect_every=8)
    crops = []
    for number in range(40):
        image = show(standing, 90, 80, 70, 60, 50)
        image[:, 560:] = 255 * (number % 2)  # something moves
        (poses,) = follower.step([Frame(image=image, timestamp_s=number / 25)])
        crops.append(len(poses))
    assert crops == [1] * 40
    assert follower.detections == 5
