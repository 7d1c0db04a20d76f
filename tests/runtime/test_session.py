from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

import slimpose
from slimpose.arrays import Size
from slimpose.runtime import onnx_file
from slimpose.runtime.detector import MIN_BOX_PX, Detector
from slimpose.runtime.estimator import MAX_BATCH, PoseEstimator
from slimpose.runtime.machine import read_machine
from slimpose.runtime.onnx_file import file_metadata, open_onnx_file
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17, Skeleton
from synthetic_models import (
    CANVAS,
    CARD,
    CROP,
    dot_image,
    metadata_of,
    write_detector_model,
    write_pose_model,
)


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_detector_model(tmp_path / "detector.onnx")


def test_a_model_says_what_it_is(pose: Path, detector: Path) -> None:
    info = Session(pose, threads=1).info
    assert (info.name, info.task, info.size, info.precision) == (
        "synthetic-pose",
        "pose",
        CROP,
        "fp32",
    )
    assert (info.gmac, info.params, info.card) == (0.001, 12, CARD)
    assert info.skeleton == COCO17
    found = Session(detector, threads=1).info
    assert (found.task, found.size) == ("detect", CANVAS)
    assert (found.score_threshold, found.nms_iou_threshold) == (0.3, 0.6)


def test_a_model_brings_its_own_skeleton(tmp_path: Path) -> None:
    skeleton = Skeleton(
        name="hand",
        joints=("palm", "tip"),
        limbs=(("palm", "tip"),),
        sigmas=(0.1, 0.2),
        upper_body=(),
    )
    session = Session(write_pose_model(tmp_path / "hand.onnx", skeleton=skeleton), threads=1)
    poses = PoseEstimator(session)(dot_image(CROP, 10, 10), np.array([[0, 0, 30, 30]], np.float32))
    assert poses.skeleton == skeleton
    assert poses.points_image.shape == (1, 2, 2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model file .*nothing\.onnx"):
        Session(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_a_truncated_file_is_no_onnx_file_or_not_ours(pose: Path, share: float) -> None:
    pose.write_bytes(pose.read_bytes()[: int(share * pose.stat().st_size)])
    with pytest.raises(ValueError, match=r"pose\.onnx is (not an ONNX file|not a slimpose model)"):
        Session(pose)


@pytest.mark.parametrize(
    ("architecture", "features", "is_careful"),
    [
        ("x86_64", {"avx2": True, "vnni": False}, True),
        ("x86_64", {"avx2": True, "vnni": True}, False),
        ("AMD64", {}, True),  # not to be learned
        ("aarch64", {"dotprod": False}, False),
        ("arm64", {}, False),
    ],
)
def test_int8_sums_overflow_on_no_processor(
    pose: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    features: dict[str, bool],
    is_careful: bool,
) -> None:
    machine = dataclasses.replace(read_machine(), architecture=architecture, features=features)
    monkeypatch.setattr(onnx_file, "read_machine", lambda: machine)
    options = open_onnx_file(pose).get_session_options()
    if is_careful:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry("session.x64quantprecision")


def test_a_text_file_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="not an ONNX file"):
        Session(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slimpose": None}, "is not a slimpose model"),
        ({"slimpose": "2"}, "has format 2; this slimpose reads 1"),
        ({"task": None}, "metadata lacks 'task'"),
        ({"task": "segment"}, "task is 'segment'; expected pose or detect"),
        ({"height": "tall"}, "metadata is broken: .*'tall'"),
        ({"height": "0"}, "the input is 0x48 pixels"),
        ({"card": "[1]"}, "card is a JSON list; expected an object"),
        ({"card": "{"}, "metadata is broken"),
        ({"skeleton": "{}"}, "does not describe a skeleton: KeyError"),
    ],
)
def test_what_is_wrong_with_the_metadata_is_told(
    tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    fields = file_metadata(
        open_onnx_file(write_pose_model(tmp_path / "good.onnx"), optimize=False)
    )
    wanted = {**fields, **changes}
    metadata = {key: value for key, value in wanted.items() if value is not None}
    path = write_pose_model(tmp_path / "bad.onnx", metadata=metadata)
    with pytest.raises(ValueError, match=message):
        Session(path)


def test_a_graph_that_is_not_what_its_metadata_says_is_refused(tmp_path: Path) -> None:
    path = write_detector_model(
        tmp_path / "odd.onnx", metadata=metadata_of("pose", CANVAS, skeleton="{}")
    )
    with pytest.raises(ValueError, match="does not describe a skeleton"):
        Session(path)
    path = write_pose_model(tmp_path / "odd.onnx", metadata=metadata_of("detect", CROP))
    with pytest.raises(ValueError, match=r"says it is a detect model, but takes .*crops"):
        Session(path)


def test_a_model_of_the_other_task_is_refused(pose: Path, detector: Path) -> None:
    with pytest.raises(ValueError, match="is a detect model; expected a pose model"):
        PoseEstimator(Session(detector))
    with pytest.raises(ValueError, match="is a pose model; expected a person detector"):
        Detector(Session(pose))


def test_a_batch_that_does_not_fit_is_refused(pose: Path) -> None:
    session = Session(pose, threads=1)
    with pytest.raises(ValueError, match=r"batch is float32 .*expects uint8 \(n, 64, 48, 3\)"):
        session.run(np.zeros((1, *CROP, 3), np.float32), ("points",))
    with pytest.raises(ValueError, match=r"batch is uint8 \(1, 48, 64, 3\)"):
        session.run(np.zeros((1, CROP.width, CROP.height, 3), np.uint8), ("points",))
    with pytest.raises(
        ValueError, match="has no output heatmaps; expected of points, scores, covariances"
    ):
        session.run(np.zeros((1, *CROP, 3), np.uint8), ("heatmaps",))


def test_threads_under_zero_are_refused(pose: Path) -> None:
    with pytest.raises(ValueError, match="threads is -1; expected 0"):
        Session(pose, threads=-1)


@pytest.mark.parametrize("size", [Size(96, 96), Size(48, 96), Size(480, 640), Size(30, 20)])
def test_the_detectors_boxes_are_in_image_pixels_and_one_a_person(
    detector: Path, size: Size
) -> None:
    scale = min(96 / size.height, 96 / size.width)
    x, y = size.width // 2, size.height // 3
    image = np.full((*size, 3), 20, np.uint8)
    radius = max(1, round(2 / scale))
    cv2.circle(image, (x, y), radius, (255, 255, 255), cv2.FILLED)
    boxes, scores = Detector(Session(detector, threads=1))(image)
    assert scores.shape == (1,)
    # The synthetic model picks the first brightest pixel, in the dot's upper part.
    expected = np.array([x - 16 / scale, y - 24 / scale, x + 16 / scale, y + 24 / scale])
    expected = np.clip(expected, -0.5, [size.width - 0.5, size.height - 0.5] * 2)
    np.testing.assert_allclose(boxes[0], expected, atol=3 / scale + radius)


def test_a_threshold_given_replaces_the_models(detector: Path) -> None:
    image = dot_image(CANVAS, 48, 48)
    assert len(Detector(Session(detector), score_threshold=0.95)(image)[1]) == 0
    assert (
        len(Detector(Session(detector), score_threshold=0.05)(image)[1]) == 2
    )  # the unlikely one too
    with pytest.raises(ValueError, match=r"score threshold is 1\.5"):
        Detector(Session(detector), score_threshold=1.5)


def test_pictures_too_small_for_a_person_have_none(detector: Path) -> None:
    side = int(MIN_BOX_PX) - 1
    for size in (Size(1, 1), Size(side, 100), Size(100, side)):
        boxes, scores = Detector(Session(detector), score_threshold=0.0)(
            np.full((*size, 3), 255, np.uint8)
        )
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)


def test_points_and_covariances_come_back_in_image_pixels(pose: Path) -> None:
    # With its surroundings the box is 50 pixels high, as the crop is 64: scale 64/50.
    image = np.zeros((100, 80, 3), np.uint8)
    image[50, 40] = 255
    poses = PoseEstimator(Session(pose))(image, np.array([[30, 30, 50, 70]], np.float32))
    scale = 64 / 50
    np.testing.assert_allclose(poses.points_image[0, 0], [40, 50], atol=0.6)
    np.testing.assert_allclose(
        poses.points_image[0, 16] - poses.points_image[0, 0], [4 / scale, 0], atol=1e-3
    )
    np.testing.assert_allclose(poses.covariances_image[0, 5], np.eye(2) / scale**2, rtol=1e-4)
    np.testing.assert_array_equal(poses.ids, [-1])


def people(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    corners = rng.uniform((0, 0), (100, 60), (count, 2))
    return image, np.concatenate(
        [corners, corners + rng.uniform(10, 60, (count, 2))], axis=1
    ).astype(np.float32)


@pytest.mark.parametrize("count", [8, MAX_BATCH, MAX_BATCH + 3])
def test_a_batch_gives_what_single_calls_give(pose: Path, count: int) -> None:
    estimate = PoseEstimator(Session(pose, threads=1))
    image, boxes = people(count)
    together = estimate(image, boxes)
    alone = [estimate(image, boxes[row : row + 1]) for row in range(count)]
    for field in ("points_image", "scores", "covariances_image", "person_scores", "boxes_image"):
        np.testing.assert_allclose(
            getattr(together, field),
            np.concatenate([getattr(one, field) for one in alone]),
            rtol=1e-5,
            atol=1e-4,
        )


def test_several_images_in_one_batch_keep_their_people_apart(pose: Path) -> None:
    estimate = PoseEstimator(Session(pose, threads=1))
    image, boxes = people(5)
    ones, other = np.ones(5, np.float32), np.ascontiguousarray(image[::-1])
    nobody = np.zeros((0, 4), np.float32)
    results = estimate.estimate_many(
        [(image, boxes, ones), (other, nobody, ones[:0]), (other, boxes[:2], ones[:2])]
    )
    assert [len(result) for result in results] == [5, 0, 2]
    np.testing.assert_allclose(
        results[0].points_image, estimate(image, boxes).points_image, atol=1e-4
    )
    np.testing.assert_allclose(
        results[2].points_image, estimate(other, boxes[:2]).points_image, atol=1e-4
    )
    assert estimate.estimate_many([]) == []


def test_the_pipeline_takes_a_path_an_array_or_boxes(
    pose: Path, detector: Path, tmp_path: Path
) -> None:
    pipeline = slimpose.load(pose, detector, threads=1)
    image = dot_image(Size(96, 96), 50, 40)
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), image)
    by_array, by_path, by_text = pipeline(image), pipeline(path), pipeline(str(path))
    np.testing.assert_array_equal(by_array.points_image, by_path.points_image)
    np.testing.assert_array_equal(by_array.points_image, by_text.points_image)
    given = pipeline(image, np.array([[30, 20, 70, 60], [0, 0, 90, 90]], np.float32))
    assert len(given) == 2
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
def test_an_array_that_is_no_rgb_image_is_refused(
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
def test_boxes_that_cannot_hold_anyone_are_refused(
    pose: Path, boxes: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        slimpose.load(pose, None)(dot_image(CANVAS, 5, 5), np.array(boxes, np.float32))


def test_without_detector_and_boxes_there_is_nothing_to_look_at(pose: Path) -> None:
    with pytest.raises(ValueError, match="no detector"):
        slimpose.load(pose, None)(dot_image(CANVAS, 5, 5))


def test_a_very_wide_picture_is_cut_like_a_small_one(pose: Path) -> None:
    image = np.zeros((60, 40_000, 3), np.uint8)  # OpenCV counts a warp's source pixels in 16 bits
    image[30, 39_900] = 255
    poses = PoseEstimator(Session(pose))(image, np.array([[39_880, 10, 39_920, 50]], np.float32))
    np.testing.assert_allclose(poses.points_image[0, 0], [39_900, 30], atol=1.0)
