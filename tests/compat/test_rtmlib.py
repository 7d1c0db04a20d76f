"""Programs written for rtmlib run with their import line changed."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from foreign_models import (
    DETECTOR_SIZE,
    JOINTS_PX,
    PERSON_BOX,
    SIZE,
    box_outputs,
    people_outputs,
    write_constant,
    write_heatmaps,
    write_outputs,
    write_simcc,
)
from slimpose.arrays import Size
from slimpose.compat.rtmlib import (
    Body,
    BodyWithFeet,
    Custom,
    PoseTracker,
    Wholebody,
    draw_bbox,
    draw_skeleton,
)
from slimpose.runtime import models
from slimpose.runtime.foreign.skeletons import HALPE26, WHOLE_BODY133
from slimpose.skeleton import COCO17, Skeleton
from synthetic_models import (
    CROP,
    dot_image,
    metadata_of,
    write_detector_model,
    write_pose_model,
)

PHOTO = Path(__file__).parents[2] / "examples/photos/000000409475.jpg"
BGR = dot_image(Size(96, 96), 50, 40)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Synthetic models in place of the shipped ones; the folder of them."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("hr", "mnv2", "mnv2-int8"):
        write_pose_model(folder / f"{name}.onnx")
    write_detector_model(folder / "detector.onnx")
    monkeypatch.setattr(models, "WEIGHTS", folder)
    return folder


def new_skeleton(joints: int) -> Skeleton:
    return Skeleton(
        name=f"joints{joints}",
        joints=tuple(f"joint{number}" for number in range(joints)),
        limbs=(),
        sigmas=(0.05,) * joints,
        upper_body=(),
        flip_pairs=(),
    )


WEBCAM_DEMO = """
import cv2

from slimpose.compat.rtmlib import PoseTracker, Body, draw_skeleton

device = 'cpu'
backend = 'onnxruntime'

cap = cv2.VideoCapture(SOURCE)

openpose_skeleton = OPENPOSE

pose_tracker = PoseTracker(
    Body, mode='balanced', det_frequency=7, tracking=TRACKING,
    to_openpose=openpose_skeleton, backend=backend, device=device)

while cap.isOpened():
    success, frame = cap.read()
    if not success:
        break
    keypoints, scores = pose_tracker(frame)
    found.append((keypoints, scores))
    img_show = frame.copy()
    img_show = draw_skeleton(
        img_show, keypoints, scores, openpose_skeleton=openpose_skeleton, kpt_thr=0.43)
    img_show = cv2.resize(img_show, (960, 540))
    cv2.imshow('img', img_show)
    cv2.waitKey(10)

cap.release()
cv2.destroyAllWindows()
"""
"""The steps of rtmlib's webcam and video demos."""
WHOLE_BODY_DEMO = """
import cv2

from slimpose.compat.rtmlib import Wholebody, draw_skeleton

cap = cv2.VideoCapture(SOURCE)
wholebody = Wholebody(pose=POSE, to_openpose=False, backend='onnxruntime', device='cpu')

while cap.isOpened():
    success, frame = cap.read()
    if not success:
        break
    keypoints, scores = wholebody(frame)
    found.append((keypoints, scores))
    img_show = draw_skeleton(frame.copy(), keypoints, scores, kpt_thr=0.43)
    cv2.imshow('img', img_show)
    if cv2.waitKey(1) & 0xFF == ord('q'):
        break
"""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The images that a program shows; there is no window."""
    images: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "imshow", lambda _, image: images.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda _: -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    return images


def write_pan(path: Path, frames: int, *, step_px: int) -> Path:
    """Write a video of the people in a sample photo, who move to the left."""
    photo = cv2.imread(str(PHOTO))
    assert photo is not None
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (560, 420))
    for number in range(frames):
        start = number * step_px
        writer.write(photo[:420, start : start + 560])
    writer.release()
    return path


@pytest.mark.parametrize("openpose", [False, True])
@pytest.mark.parametrize("tracking", [False, True])
def test_video_demo_runs(
    tmp_path: Path, openpose: bool, tracking: bool, shown: list[np.ndarray]
) -> None:
    video = write_pan(tmp_path / "pan.avi", 12, step_px=2)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    names = {"SOURCE": str(video), "OPENPOSE": openpose, "TRACKING": tracking}
    exec(WEBCAM_DEMO, {**names, "found": found})
    joints = 18 if openpose else 17
    assert len(found) == len(shown) == 12
    first, _ = found[0]
    last, scores = found[-1]
    assert first.shape == last.shape == (len(scores), joints, 2)
    assert len(scores) >= 1
    good = scores[0] > 0.6
    assert good.sum() >= 5
    moved = (last - first)[0, good].mean(axis=0)
    np.testing.assert_allclose(moved, [-22, 0], atol=4)
    assert all(image.shape == (540, 960, 3) for image in shown)
    plain = cv2.resize(cv2.imread(str(PHOTO))[:420, :560], (960, 540))  # pyright: ignore
    assert np.abs(shown[0].astype(int) - plain).max() > 100  # something is drawn


README_QUICK_START = """
import cv2
from slimpose.compat.rtmlib import Wholebody, draw_skeleton

img = cv2.imread(IMAGE)

device = 'cpu'
backend = 'onnxruntime'

wholebody = Wholebody(to_openpose=OPENPOSE, mode='balanced', backend=backend, device=device,
                      det=DET, det_input_size=(64, 96), pose=POSE, pose_input_size=(48, 64))
keypoints, scores = wholebody(img)

img = draw_skeleton(img, keypoints, scores, kpt_thr=0.5, to_openpose=OPENPOSE)
cv2.imshow('img', img)
cv2.waitKey(0)
"""
"""The steps of the first program of rtmlib's README, with files."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files as rtmlib's users have them: detector and pose model are end2end.onnx."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dets = box_outputs()["yolox-nms"]
    for name in ("det", "pose"):
        (tmp_path / name).mkdir()
    image = (TensorProto.FLOAT, ["batch", 3, "height", "width"])
    write_constant(tmp_path / "det/end2end.onnx", image, **dets)
    write_simcc(tmp_path / "pose/end2end.onnx")
    write_heatmaps(tmp_path / "vitpose.onnx", "corners")
    return tmp_path


@pytest.mark.parametrize("openpose", [False, True])
def test_quick_start_runs_with_133_joints(
    files: Path, openpose: bool, shown: list[np.ndarray]
) -> None:
    pose = write_simcc(files / "pose/end2end.onnx", joints=133)
    cv2.imwrite(str(files / "demo.jpg"), np.full((96, 64, 3), 90, np.uint8))
    names: dict[str, Any] = {
        "IMAGE": str(files / "demo.jpg"),
        "OPENPOSE": openpose,
        "DET": str(files / "det/end2end.onnx"),
        "POSE": str(pose),
    }
    exec(README_QUICK_START, names)
    points, scores = names["keypoints"], names["scores"]
    assert points.shape == (1, 134 if openpose else 133, 2)
    assert scores.shape == points.shape[:2]
    assert (shown[0] != 90).any()
    plain, _ = Wholebody(det=names["DET"], pose=str(pose))(np.full((96, 64, 3), 90, np.uint8))
    if openpose:
        joints = list(WHOLE_BODY133.joints)
        np.testing.assert_allclose(points[0, 18:], plain[0, 17:])
        shoulders = [joints.index("left_shoulder"), joints.index("right_shoulder")]
        np.testing.assert_allclose(points[0, 1], plain[0, shoulders].mean(axis=0), atol=1e-4)


def test_classes_decide_what_ambiguous_files_are(files: Path) -> None:
    det, pose = str(files / "det/end2end.onnx"), str(files / "pose/end2end.onnx")
    image = np.full((96, 64, 3), 90, np.uint8)
    custom = Custom(
        det_class="RTMDet",
        det=det,
        det_input_size=(64, 96),
        pose_class="ViTPose",
        pose=str(files / "vitpose.onnx"),
    )
    detector: Any = custom.pipeline.detector
    assert (detector.session.info.kind, detector.session.info.size) == ("rtmdet-nms", Size(96, 64))
    np.testing.assert_allclose(detector(image)[0], [PERSON_BOX], atol=0.51)
    assert custom.pipeline.estimator.session.info.kind == "vitpose"
    Path(det).with_suffix(".toml").unlink()
    body = Body(det=det, pose=pose)
    detector = body.pipeline.detector
    assert (detector.session.info.kind, detector.session.info.size) == (
        "yolox-nms",
        Size(640, 640),  # rtmlib's default for a file of free size
    )
    assert body.pipeline.estimator.session.info.size == SIZE
    assert not Path(pose).with_suffix(".toml").exists()  # it says itself what it is
    with pytest.raises(ValueError, match=r"yolox.zip is an archive; expected the ONNX file in it"):
        Body(det="yolox.zip")


def test_whole_body_demo_runs_with_a_one_stage_file(
    tmp_path: Path, shown: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    video = write_pan(tmp_path / "pan.avi", 3, step_px=2)
    outputs = people_outputs(133)["rtmo"]
    pose = write_outputs(tmp_path / "rtmo.onnx", DETECTOR_SIZE, outputs)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    exec(WHOLE_BODY_DEMO, {"SOURCE": str(video), "POSE": str(pose), "found": found})
    assert [points.shape for points, _ in found] == [(1, 133, 2)] * 3
    assert len(shown) == 3


def test_detector_is_ignored_with_a_one_stage_file(files: Path) -> None:
    outputs = people_outputs(17)["rtmo"]
    pose = str(write_outputs(files / "rtmo.onnx", DETECTOR_SIZE, outputs))
    det = str(files / "det/end2end.onnx")
    image = np.full((*DETECTOR_SIZE, 3), 90, np.uint8)
    models: dict[str, Any] = {"det": det, "pose": pose}
    custom = partial(Custom, det_class="YOLOX", pose_class="RTMO", **models)
    for solution in (
        Body(**models),
        custom(),
        PoseTracker(custom),
        PoseTracker(partial(Body, **models)),
    ):
        points, _ = solution(image)
        np.testing.assert_allclose(points[0], JOINTS_PX, atol=0.02)
    assert not Path(det).with_suffix(".toml").exists()  # not even opened
    with pytest.raises(ValueError, match="det is missing"):
        Custom(det_class="YOLOX", pose_class="RTMO", pose=pose)


@pytest.mark.parametrize(("joints", "a", "b"), [(26, "neck", "hip"), (133, "left_hand_root", None)])
def test_larger_skeletons_have_limbs(joints: int, a: str, b: str | None) -> None:
    skeleton = {26: HALPE26, 133: WHOLE_BODY133}[joints]
    ends = [skeleton.joints.index(a), skeleton.joints.index(b or "left_forefinger1")]
    keypoints, scores = np.zeros((1, joints, 2), np.float32), np.zeros((1, joints), np.float32)
    keypoints[0, ends] = [[10, 30], [50, 30]]
    scores[0, ends] = 0.9
    drawn = draw_skeleton(np.zeros((60, 60, 3), np.uint8), keypoints, scores)
    assert drawn[30, 30].any()  # half way between the two


def test_custom_in_a_tracker(shipped: Path) -> None:
    custom = partial(
        Custom,
        det_class="YOLOX",
        det=str(shipped / "detector.onnx"),
        det_input_size=(96, 96),
        pose_class="RTMPose",
        pose=str(shipped / "mnv2.onnx"),
        pose_input_size=(48, 64),
    )
    tracker = PoseTracker(custom, det_frequency=5, to_openpose=False)
    for number in range(6):
        keypoints, _ = tracker(dot_image(Size(96, 96), 30 + number, 40))
        assert keypoints.shape == (1, 17, 2)
    assert tracker.track_ids_last_frame == [1]
    tracker.reset()
    assert tracker.track_ids_last_frame == []
    tracker(dot_image(Size(96, 96), 30, 40))
    assert tracker.track_ids_last_frame == [1]


@pytest.mark.usefixtures("shipped")
def test_body_takes_bgr_images_and_modes() -> None:
    for mode in ("performance", "balanced", "lightweight"):
        body = Body(mode=mode)
        keypoints, scores = body(BGR)
        assert keypoints.shape == (1, 17, 2)
        assert scores.shape == (1, 17)
        session: Any = body.pipeline.estimator.session
        assert session._path.stem.endswith("-int8") == (mode == "lightweight")
    keypoints, scores = Body()(np.full((96, 96, 3), 20, np.uint8))
    assert keypoints.shape == (0, 17, 2)
    assert scores.shape == (0, 17)
    seen: list[np.ndarray] = []
    body = Body()
    detector = body.pipeline.detector
    assert detector is not None

    def spy(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(image)
        return detector(image)

    body.pipeline.detector = spy  # pyright: ignore[reportAttributeAccessIssue]
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 0] = 255
    body(blue)
    assert seen[0][0, 0].tolist() == [0, 0, 255]


@pytest.mark.usefixtures("shipped")
def test_openpose_keypoints() -> None:
    keypoints, scores = Body(to_openpose=True)(BGR)
    plain, _ = Body()(BGR)
    names = list(COCO17.joints)
    shoulders = [names.index("left_shoulder"), names.index("right_shoulder")]
    np.testing.assert_allclose(keypoints[0, 1], plain[0, shoulders].mean(axis=0), atol=1e-4)
    np.testing.assert_array_equal(keypoints[0, 2], plain[0, names.index("right_shoulder")])
    assert scores.shape == (1, 18)


def test_one_person_in_the_whole_image_without_a_detector(shipped: Path) -> None:
    custom = Custom(pose_class="RTMPose", pose=str(shipped / "mnv2.onnx"))
    assert custom(BGR)[0].shape == (1, 17, 2)
    assert PoseTracker(partial(Custom, pose_class="RTMPose", pose=str(shipped / "mnv2.onnx")))(BGR)[
        0
    ].shape == (1, 17, 2)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(("solution", "joints"), [(BodyWithFeet, 26), (Wholebody, 133)])
def test_larger_skeletons_need_a_file(solution: Any, joints: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"ships no model of {joints} keypoints; expected"):
        solution()
    skeleton = new_skeleton(joints)
    fields = metadata_of("pose", CROP, skeleton=json.dumps(dataclasses.asdict(skeleton)))
    file = write_pose_model(tmp_path / "large.onnx", skeleton=skeleton, metadata=fields)
    keypoints, scores = solution(pose=str(file))(BGR)
    assert keypoints.shape == (1, joints, 2)
    drawn = draw_skeleton(BGR.copy(), keypoints, scores)
    assert not np.array_equal(drawn, BGR)
    message = f"has {joints} keypoints of .*; expected COCO's 17 of a person, alone or before"
    with pytest.raises(ValueError, match=message):
        solution(pose=str(file), to_openpose=True)
    with pytest.raises(ValueError, match=f"has {joints} keypoints; expected a model of 17"):
        Body(pose=str(file))


URL = "https://user:secret@host/yolox.zip"


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda file: Body(mode="fast"), "mode is 'fast'; expected one of performance, balanced"),
        (lambda file: Body(backend="opencv"), "backend 'opencv' on device 'cpu' is not available"),
        (lambda file: Body(device="mps"), "backend 'onnxruntime' on device 'mps'"),
        (
            lambda file: Body(det=URL),
            r"//\*\*\*@host/yolox.zip: slimpose downloads no models",
        ),
        (
            lambda file: Body(pose=file, pose_input_size=(64, 48)),
            r"pose_input_size is \(64, 48\), but the input of synthetic-pose is \(48, 64\), width",
        ),
        (lambda file: Custom(), "pose_class is None; expected one of RTMPose, ViTPose, RTMO"),
        (lambda file: Custom(pose_class="RTMPose"), "pose is missing; expected the file"),
        (
            lambda file: Custom(det_class="SSD", pose_class="RTMPose", pose=file),
            "det_class is 'SSD'; expected one of YOLOX, RTMDet, RFDETR",
        ),
        (
            lambda file: Custom(pose_class="RTMPose", pose=file, det_categories=[23]),
            "slimpose detects people only",
        ),
        (lambda file: PoseTracker(Body, tracking_thr=0.5), "tracking_thr is 0.5; expected 0.3"),
        (lambda file: PoseTracker(Body, fps=0.0), "fps is 0.0"),
    ],
)
def test_what_differs_is_rejected_in_one_line(shipped: Path, create: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        create(str(shipped / "mnv2.onnx"))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_drawing_is_on_the_image_and_only_of_good_joints() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    keypoints = np.tile(np.array([30, 30], np.float32), (1, 17, 1))
    scores = np.zeros((1, 17), np.float32)
    assert draw_skeleton(image, keypoints, scores) is image
    assert not image.any()
    left_wrist = COCO17.joints.index("left_wrist")
    keypoints[0, left_wrist] = 10, 20
    scores[0, left_wrist] = 0.9
    draw_skeleton(image, keypoints, scores, radius=3)
    blue, _, red = image[20, 10]
    assert red > blue  # the left is orange, in BGR
    assert not image[30, 30].any()
    draw_skeleton(image, keypoints[0], scores[0])  # one person
    assert draw_skeleton(image, np.zeros((0, 17, 2)), np.zeros((0, 17))) is image
    boxed = draw_bbox(np.zeros((60, 60, 3), np.uint8), np.array([[10, 10, 40, 40]]))
    assert boxed[10, 20].tolist() == [0, 255, 0]
    assert cv2.countNonZero(boxed[12:38, 12:38, 1]) == 0
