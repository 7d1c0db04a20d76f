"""Detection in tiles: small people are enlarged, and each is found once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slimpose
from foreign_models import DETECTOR_SIZE, people_outputs, write_outputs, write_simcc
from slimpose import geometry
from slimpose.arrays import Size
from slimpose.geometry import CanvasFit
from slimpose.measure.synthetic_video import extract_people
from slimpose.runtime.detector import Detector
from slimpose.runtime.models import resolve
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import ModelInfo, Session
from slimpose.runtime.tiles import TiledDetector, _cover, new_detector
from slimpose.skeleton import COCO17
from synthetic_models import write_detector_model, write_pose_model

PHOTOS = Path(__file__).parents[2] / "examples/photos"
_SURE_PX = 64
"""Height in the input from which the model below is sure of a person."""


class WhiteRectangles:
    """A detector whose people are white rectangles; the smaller, the lower their scores."""

    outputs = ("boxes", "scores")

    def __init__(self, size: Size, fit: CanvasFit) -> None:
        self.inputs: list[int] = []
        self.info = ModelInfo(
            name="rectangles", task="detect", size=size, stride=8, precision="fp32", gmac=0.1,
            params=1, card={}, skeleton=COCO17, fit=fit, score_threshold=0.4,
            nms_iou_threshold=0.6,
        )  # fmt: skip

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        assert outputs == ("boxes", "scores")
        self.inputs.append(len(batch))
        boxes, scores = np.zeros((len(batch), 400, 4), np.float32), np.zeros((len(batch), 400))
        for row, canvas in enumerate(batch):
            is_white = (canvas[..., 0] > 180).astype(np.uint8)
            found = cv2.connectedComponentsWithStats(is_white, connectivity=4)[2][1:401]
            corners = found[:, [0, 1, 0, 1]] - 0.5
            corners[:, 2:] += found[:, 2:4]
            boxes[row, : len(found)] = corners
            scores[row, : len(found)] = np.minimum(0.9, 0.5 * found[:, 3] / _SURE_PX)
        return [boxes, scores.astype(np.float32)]


def image_of(boxes: np.ndarray, size: Size) -> np.ndarray:
    image = np.full((*size, 3), 60, np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 250
    return image


def grid_of_people(rows: int, columns: int, size: Size, *, height: int) -> np.ndarray:
    """Return boxes (n, 4) of people, not quite in rows and columns."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    left = (x + 0.2) * size.width / columns + rng.uniform(0, 20, len(x))
    top = (y + 0.05) * size.height / rows + rng.uniform(0, 8, len(x))
    corners = np.stack([left, top, left + 0.45 * height, top + height], axis=1)
    return corners.round().astype(np.float32)


def check_each_is_found_once(found: np.ndarray, people: np.ndarray) -> None:
    overlap = geometry.box_iou(people - np.float32(0.5), found)
    assert len(found) == len(people)
    assert (overlap.max(axis=1) > 0.8).all()


@pytest.mark.parametrize(
    ("canvas", "fit"),
    [
        (Size(256, 320), "letterbox"),
        (Size(320, 320), "stretch"),
        (Size(416, 416), "letterbox-center"),
        (Size(320, 320), "stretch-cubic"),
    ],
)
def test_260_small_people_are_found_once_each(canvas: Size, fit: CanvasFit) -> None:
    size = Size(1080, 1920)
    people = grid_of_people(13, 20, size, height=60)
    model = WhiteRectangles(canvas, fit)
    image = image_of(people, size)
    assert len(Detector(model)(image)[0]) == 0
    detector = TiledDetector(model)
    boxes, scores = detector(image)
    check_each_is_found_once(boxes, people)
    assert (np.diff(scores) <= 0).all()
    assert (detector.images, detector.runs) == (1, sum(model.inputs) - 1)


def test_large_people_are_found_whole_and_cost_little() -> None:
    people = np.array([[100, 100, 900, 1000], [1200, 200, 1500, 900]], np.float32)
    model = WhiteRectangles(Size(256, 320), "letterbox")
    detector = TiledDetector(model)
    boxes, _ = detector(image_of(people, Size(1080, 1920)))
    check_each_is_found_once(boxes, people)
    assert detector.runs == 7  # the whole image and a grid of 3 x 2


def test_large_and_tiny_people_in_one_image() -> None:
    people = np.array([[100, 100, 900, 1000], [1000, 20, 1014, 50], [1700, 980, 1714, 1012]])
    detector = TiledDetector(WhiteRectangles(Size(256, 320), "letterbox"))
    boxes, _ = detector(image_of(people, Size(1080, 1920)))
    check_each_is_found_once(boxes, people.astype(np.float32))


def test_image_smaller_than_the_input_is_processed_once() -> None:
    people = np.array([[40, 20, 120, 180]], np.float32)
    detector = TiledDetector(WhiteRectangles(Size(256, 320), "letterbox"))
    check_each_is_found_once(detector(image_of(people, Size(200, 250)))[0], people)
    assert detector.runs == 1


@pytest.mark.parametrize("size", [Size(1, 1), Size(4, 5000), Size(3000, 7), Size(40, 30)])
def test_images_of_any_shape_have_no_people_where_there_are_none(size: Size) -> None:
    detector = TiledDetector(WhiteRectangles(Size(256, 320), "letterbox"))
    assert detector(np.zeros((*size, 3), np.uint8))[0].shape == (0, 4)


def test_threshold_of_a_call_replaces_the_detectors_own() -> None:
    people = np.array([[40, 20, 120, 180]], np.float32)
    image = image_of(people, Size(200, 250))
    detector = TiledDetector(WhiteRectangles(Size(256, 320), "letterbox"), score_threshold=0.95)
    assert len(detector(image)[0]) == 0
    assert len(detector(image, score_threshold=0.5)[0]) == 1


def test_small_people_of_the_sample_photos_are_found_by_the_shipped_detector() -> None:
    detector = Detector(Session(resolve("detector"), threads=1))
    patches = extract_people(PHOTOS, detector)
    image = np.full((1440, 2560, 3), 110, np.uint8)
    people: list[list[float]] = []
    for number in range(30):
        patch = patches[number % len(patches)]
        scale = 60 / float(patch.box[3] - patch.box[1])
        height, width = (max(1, round(scale * side)) for side in patch.rgb.shape[:2])
        x, y = 40 + 240 * (number % 10), 80 + 400 * (number // 10)
        small = cv2.resize(patch.rgb, (width, height), interpolation=cv2.INTER_AREA)
        image[y : y + height, x : x + width] = small
        people.append((scale * patch.box + [x, y, x, y]).tolist())
    truth = np.array(people, np.float32)
    tiled = TiledDetector(detector.session)
    counts = [
        int((geometry.box_iou(truth, one(image)[0]).max(axis=1, initial=0) > 0.5).sum())
        for one in (detector, tiled)
    ]
    assert counts[0] < 15
    assert counts[1] >= 27


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_small_box_lies_whole_in_a_tile(data: st.DataObject) -> None:
    image, tile = Size(600, 900), Size(100, 160)
    number = st.floats(0, 1, allow_subnormal=False)
    shares = np.array(data.draw(st.lists(st.tuples(*[number] * 4), max_size=30))).reshape(-1, 4)
    sides = 1 + shares[:, 2:] * ([tile.width - 2, tile.height - 2])
    corner = shares[:, :2] * ([image.width, image.height] - sides)
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    tiles = _cover(boxes, tile, image)
    assert len(tiles) <= len(boxes)
    assert (tiles >= 0).all()
    assert (tiles[:, 2:] <= [image.width, image.height]).all()
    inside = (boxes[:, None, :2] >= tiles[:, :2] - 1).all(axis=2)
    inside &= (boxes[:, None, 2:] <= tiles[:, 2:] + 1).all(axis=2)
    assert (inside.sum(axis=1) > 0).all()


def test_pipelines_take_tiles(tmp_path: Path) -> None:
    pose, boxes = tmp_path / "pose.onnx", tmp_path / "boxes.onnx"
    write_pose_model(pose)
    write_detector_model(boxes)
    pipeline = slimpose.load(pose, boxes, tiles="auto", conf=0.2)
    assert isinstance(pipeline.detector, TiledDetector)
    assert pipeline.detector.score_threshold == 0.2
    image = np.full((400, 400, 3), 20, np.uint8)
    image[200:203, 100:103] = 255
    assert len(pipeline(image)) >= 1
    again = pickle.loads(pickle.dumps(pipeline))
    assert len(again(image)) == len(pipeline(image))
    plain = Pipeline(estimator=pipeline.estimator, detector=pipeline.detector, tiles="auto")
    assert len(slimpose.Follower(plain).step([slimpose.Frame(image=image, timestamp_s=0.0)])) == 1
    with pytest.raises(ValueError, match="tiles is 'many'; expected one of off, auto"):
        new_detector(pipeline.detector.session, tiles="many")
    with pytest.raises(ValueError, match="and there is none; expected no tiles"):
        slimpose.load(pose, None, tiles="auto")
    one_stage = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, people_outputs(17)["rtmo"])
    with pytest.raises(ValueError, match="net finds people itself; expected no tiles"):
        slimpose.load(one_stage, tiles="auto")


def test_each_small_person_of_a_crowd_gets_a_pose(tmp_path: Path) -> None:
    size = Size(720, 1280)
    people = grid_of_people(6, 10, size, height=40)
    detector = TiledDetector(WhiteRectangles(Size(256, 320), "letterbox"))
    simcc = slimpose.load(write_simcc(tmp_path / "net.onnx"), None)
    poses = Pipeline(estimator=simcc.estimator, detector=detector)(image_of(people, size))
    assert len(poses) == 60
