"""rtmlib's solutions: from an image to keypoints and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from slimpose.compat.rtmlib.model_files import InputSize, check_file, say_kind
from slimpose.formats import openpose
from slimpose.media.frame import Frame
from slimpose.media.image_inputs import load_image
from slimpose.messages import quoted
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime import models
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline, load
from slimpose.runtime.session import ModelInfo, models_of_tasks
from slimpose.skeleton import COCO17
from slimpose.tracking.tracks import TrackerSettings

Result = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, joints, 2) in image pixels, scores (n, joints) 0..1."""

_MODES = {
    "performance": (models.DEFAULT_POSE, models.DEFAULT_DETECTOR),
    "balanced": (models.DEFAULT_POSE, models.DEFAULT_DETECTOR),
    "lightweight": ("mnv2-int8", models.DEFAULT_DETECTOR),
}
_DEVICES = {("onnxruntime", "cuda"): "cuda"}
"""Our backend by rtmlib's backend and device; on the CPU the names are the same."""
_DETECTORS = {
    "YOLOX": ("yolox", "yolox-nms"),
    "RTMDet": ("rtmdet-nms", "rtmdet"),
    "RFDETR": ("rf-detr",),
}
_POSE_MODELS = {"RTMPose": ("rtmpose",), "ViTPose": ("vitpose",), "RTMO": ("rtmo",)}
"""Kinds of files (``runtime.foreign.kinds``) by rtmlib's classes."""


class Body:
    """People with the 17 COCO keypoints: ``keypoints, scores = body(image)``.

    Args:
        det: A detector file, of YOLOX if it could be of several kinds; the shipped one by default.
            Ignored if ``pose`` is a one-stage model, as in rtmlib.
        det_input_size: Checked against the file; the size of a file of free height and width.
        pose: A pose model file; the shipped one by default.
        pose_input_size: Likewise.
        mode: "balanced", "performance" or "lightweight": the shipped models.
        to_openpose: Whether to return OpenPose's 18 keypoints instead of COCO's 17, others after
            them: 134 of a model of 133.
        backend: "onnxruntime" or "openvino".
        device: "cpu", or "cuda" with onnxruntime.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an argument or a file does not fit.
    """

    joints: int | None = 17

    def __init__(
        self,
        det: str | None = None,
        det_input_size: InputSize | None = None,
        pose: str | None = None,
        pose_input_size: InputSize | None = None,
        mode: str = "balanced",
        to_openpose: bool = False,
        backend: str = "onnxruntime",
        device: str = "cpu",
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode is {quoted(mode)}; expected one of {', '.join(_MODES)}")
        shipped_pose, shipped_detector = _MODES[mode]
        say_kind(pose, ("rtmpose", "rtmo"), pose_input_size)
        det = None if _is_one_stage(pose) else det
        say_kind(det, _DETECTORS["YOLOX"], det_input_size)
        if pose is None and self.joints != 17:
            raise ValueError(
                f"slimpose ships no model of {self.joints} keypoints; expected pose=FILE.onnx"
            )
        self.pipeline = _open(
            shipped_pose if pose is None else check_file(pose),
            shipped_detector if det is None else check_file(det),
            backend,
            device,
        )
        self.to_openpose = to_openpose
        _check_models(
            self.pipeline,
            pose_size=pose_input_size if pose is not None else None,
            det_size=det_input_size if det is not None else None,
            joints=self.joints,
            to_openpose=to_openpose,
        )

    def __call__(self, image: np.ndarray) -> Result:
        """Return the keypoints and scores of the people in a BGR image."""
        return _arrays(self.pipeline(image, color="bgr"), to_openpose=self.to_openpose)


class BodyWithFeet(Body):
    """People with Halpe's 26 keypoints; ``pose`` must be given, see ``Body``."""

    joints = 26


class Wholebody(Body):
    """People with COCO-WholeBody's 133 keypoints; ``pose`` must be given, see ``Body``."""

    joints = 133


class Custom:
    """Models of one's own.

    The kind of a file is found from its inputs and outputs; the classes decide where these fit
    several kinds.

    Args:
        det_class: "YOLOX", "RTMDet" or "RFDETR"; None for a one-stage model, or one person in the
            whole image.
        det: The detector's file; ignored if ``pose`` is a one-stage model, as in rtmlib.
        det_input_size: Checked against the file; the size of a file of free height and width.
        det_mode: Must be "human".
        det_categories: Must be None.
        pose_class: "RTMPose", "ViTPose", or "RTMO" (one-stage).
        pose: The pose model's file.
        pose_input_size: Likewise.
        mode: Not used, as in rtmlib.
        to_openpose: See ``Body``.
        backend: "onnxruntime" or "openvino".
        device: "cpu", or "cuda" with onnxruntime.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an argument or a file does not fit.
    """

    def __init__(
        self,
        det_class: str | None = None,
        det: str | None = None,
        det_input_size: InputSize | None = None,
        det_mode: str = "human",
        det_categories: Sequence[int] | None = None,
        pose_class: str | None = None,
        pose: str | None = None,
        pose_input_size: InputSize | None = None,
        mode: str | None = None,  # noqa: ARG002
        to_openpose: bool = False,
        backend: str = "onnxruntime",
        device: str = "cpu",
    ) -> None:
        _check_class("det_class", det_class, (None, *_DETECTORS))
        _check_class("pose_class", pose_class, (*_POSE_MODELS,))
        if det_mode != "human" or det_categories is not None:
            raise ValueError("slimpose detects people only; expected det_mode='human'")
        if pose is None or (det_class is not None and det is None):
            missing = "pose" if pose is None else "det"
            raise ValueError(f"{missing} is missing; expected the file of the model")
        say_kind(pose, _POSE_MODELS[pose_class or ""], pose_input_size)
        is_unused = det_class is None or _is_one_stage(pose)
        detector = None if is_unused or det is None else check_file(det)
        say_kind(detector, _DETECTORS.get(det_class or "", ()), det_input_size)
        self.pipeline = _open(check_file(pose), detector, backend, device)
        self.to_openpose = to_openpose
        _check_models(
            self.pipeline,
            pose_size=pose_input_size,
            det_size=det_input_size if detector is not None else None,
            joints=None,
            to_openpose=to_openpose,
        )

    def __call__(self, image: np.ndarray) -> Result:
        """Return the keypoints and scores of the people in a BGR image."""
        whole_image = None
        if not _finds_people(self.pipeline):
            height, width = image.shape[:2]
            whole_image = np.array([[0, 0, width, height]], np.float32)
        poses = self.pipeline(image, whole_image, color="bgr")
        return _arrays(poses, to_openpose=self.to_openpose)


class PoseTracker:
    """Follows people through the frames of a video: ``keypoints, scores = tracker(frame)``.

    Args:
        solution: ``Body``, ``Custom``, or a function that returns one, such as a ``partial``.
        det_frequency: Run the detector at least on every N-th frame.
        tracking: Whether people have ids and their keypoints are smoothed.
        tracking_thr: Must be 0.3: people are followed by their poses, not by the IoU of boxes.
        mode: Passed to the solution if it is given.
        to_openpose: See ``Body``.
        backend: See ``Body``.
        device: See ``Body``.
        fps: Frames per second of the video, for the smoothing.

    Attributes:
        track_ids_last_frame: The ids of the people returned last, in their order.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(
        self,
        solution: Callable[..., Any],
        det_frequency: int = 1,
        tracking: bool = True,
        tracking_thr: float = 0.3,
        mode: str | None = None,
        to_openpose: bool = False,
        backend: str = "onnxruntime",
        device: str = "cpu",
        *,
        fps: float = 30.0,
    ) -> None:
        if tracking_thr != 0.3:
            raise ValueError(
                f"tracking_thr is {tracking_thr}; expected 0.3, rtmlib's default: people are "
                "followed by their poses here, not by the IoU of their boxes"
            )
        if not fps > 0:
            raise ValueError(f"fps is {fps}; expected a number over 0")
        options = {"to_openpose": to_openpose, "backend": backend, "device": device}
        self.model = solution(**options, **({} if mode is None else {"mode": mode}))
        self.det_frequency, self.tracking, self._fps = det_frequency, tracking, fps
        self.reset()

    def reset(self) -> None:
        """Forget all people; ids start again at 1."""
        self.frame_cnt = 0
        self.track_ids_last_frame: list[int] = []
        self._follower: Follower | None = None
        if _finds_people(self.model.pipeline):
            self._follower = Follower(
                self.model.pipeline,
                detect_every=self.det_frequency,
                # Without ids the boxes between two detections still come from the tracks.
                track=self.tracking or self.det_frequency > 1,
                smooth=self.tracking,
                tracking=TrackerSettings(minimum_consecutive_frames=1),
            )

    def __call__(self, image: np.ndarray) -> Result:
        """Return the keypoints and scores of the people in the next frame, BGR."""
        if self._follower is None:  # one person in the whole image
            return self.model(image)
        frame = Frame(
            image=load_image(image, color="bgr"),
            timestamp_s=self.frame_cnt / self._fps,
            index=self.frame_cnt,
        )
        (poses,) = self._follower.step([frame])
        self.frame_cnt += 1
        self.track_ids_last_frame = poses.ids[poses.ids != NOT_TRACKED].tolist()
        return _arrays(poses, to_openpose=self.model.to_openpose)


def _open(pose: str, detector: str | None, backend: str, device: str) -> Pipeline:
    known = ("onnxruntime", "openvino")
    ours = backend if device == "cpu" and backend in known else _DEVICES.get((backend, device))
    if ours is None:
        raise ValueError(
            f"backend {quoted(backend)} on device {quoted(device)} is not available; expected "
            "onnxruntime or openvino on cpu, or onnxruntime on cuda"
        )
    return load(pose, detector, backend=ours)


def _is_one_stage(pose: str | None) -> bool:
    return pose is not None and bool(models_of_tasks(["one-stage"], [models.resolve(pose)]))


def _finds_people(pipeline: Pipeline) -> bool:
    return pipeline.detector is not None or pipeline.estimator.session.info.task != "pose"


def _check_class(name: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        names = ", ".join(filter(None, known))
        raise ValueError(f"{name} is {quoted(value)}; expected one of {names}")


def _check_models(
    pipeline: Pipeline,
    *,
    pose_size: InputSize | None,
    det_size: InputSize | None,
    joints: int | None,
    to_openpose: bool,
) -> None:
    """Raise ValueError unless the files are what the arguments say."""
    info = pipeline.estimator.session.info
    count = len(info.skeleton.joints)
    if joints not in (None, count):
        raise ValueError(f"{info.name} has {count} keypoints; expected a model of {joints}")
    if to_openpose and info.skeleton.joints[: len(COCO17.joints)] != COCO17.joints:
        raise ValueError(
            f"{info.name} has {count} keypoints of {quoted(info.skeleton.name)}; expected COCO's "
            "17 of a person, alone or before others, for to_openpose"
        )
    _check_size("pose_input_size", pose_size, info)
    if pipeline.detector is not None:
        _check_size("det_input_size", det_size, pipeline.detector.session.info)


def _check_size(name: str, size: InputSize | None, info: ModelInfo) -> None:
    own = (info.size.width, info.size.height)
    if size is not None and tuple(size) != own:
        raise ValueError(
            f"{name} is {quoted(size)}, but the input of {info.name} is {own}, width and height"
        )


def _arrays(poses: Poses, *, to_openpose: bool) -> Result:
    if not to_openpose:
        return poses.points_image, poses.scores
    body, first = openpose.keypoints(poses, "COCO_18"), len(COCO17.joints)
    points = np.concatenate([body[..., :2], poses.points_image[:, first:]], axis=1)
    return points, np.concatenate([body[..., 2], poses.scores[:, first:]], axis=1)
