from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
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

HAND = Skeleton(
    name="hand",
    joints=("palm", "tip"),
    limbs=(("palm", "tip"),),
    sigmas=(0.1, 0.2),
    upper_body=(),
)


def test_session_has_the_metadata_of_its_file(pose: Path, detector: Path) -> None:
    info = Session(pose, threads=1).info
    assert (info.name, info.task, info.size, info.precision) == (
        "synthetic-pose",
        "pose",
        CROP,
        "fp32",
    )
    assert (info.gmac, info.params, info.card) == (0.001, 12, CARD)
    assert info.skeleton == COCO17
    info = Session(detector, threads=1).info
    assert (info.task, info.size) == ("detect", CANVAS)
    assert (info.score_threshold, info.nms_iou_threshold) == (0.3, 0.6)


def test_skeleton_comes_from_the_file(tmp_path: Path) -> None:
    session = Session(write_pose_model(tmp_path / "hand.onnx", skeleton=HAND), threads=1)
    poses = PoseEstimator(session)(dot_image(CROP, 10, 10), np.array([[0, 0, 30, 30]], np.float32))
    assert poses.skeleton == HAND
    assert poses.points_image.shape == (1, 2, 2)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model file .*nothing\.onnx"):
        Session(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_truncated_file_is_rejected(pose: Path, share: float) -> None:
    pose.write_bytes(pose.read_bytes()[: int(share * pose.stat().st_size)])
    with pytest.raises(ValueError, match=r"pose\.onnx is (not an ONNX file|not a slimpose model)"):
        Session(pose)


def test_text_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="not an ONNX file"):
        Session(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slimpose": None}, "is not a slimpose model"),
        ({"slimpose": "2"}, "has format '2'; this slimpose reads '1'"),
        ({"task": None}, "metadata has no task"),
        ({"task": "segment"}, "task is 'segment'; expected pose or detect"),
        ({"height": "tall"}, "metadata: height is 'tall'; expected an integer 1..8192"),
        ({"height": "0"}, "metadata: height is '0'; expected"),
        ({"width": "1e9"}, "metadata: width is '1e9'; expected"),
        ({"width": "99999999"}, "metadata: width is '99999999'; expected"),
        ({"height": "48"}, r"crops has the shape \(n, 64, 48, 3\); expected \(n, 48, 48, 3\)"),
        ({"stride": "0"}, r"metadata: stride is '0'; expected an integer 1\.\.48"),
        ({"stride": "64"}, "metadata: stride is '64'; expected"),
        ({"gmac": "nan"}, "metadata: gmac is nan; expected a finite number"),
        ({"gmac": "many"}, "metadata: gmac is 'many'; expected a finite number"),
        ({"params": "-1"}, "metadata: params is '-1'; expected an integer of 0 or more"),
        ({"name": ""}, "metadata: name is ''; expected text"),
        ({"name": "\x1b[31mred"}, r"name is '\\x1b\[31mred'; expected at most 200 printable"),
        ({"name": "n" * 200_000}, r"name is 'n{55}\.\.\. \(200000 characters\); expected"),
        ({"precision": "fp32\nfp16"}, "metadata: precision is"),
        ({"card": "[1]"}, r"metadata: card is \[1\]; expected an object"),
        ({"card": "{"}, "metadata: card is '{'; expected JSON"),
        ({"card": "[" * 100_000}, "metadata: card is .*; expected JSON"),
        ({"skeleton": "{}"}, "bad.onnx: metadata"),
        ({"skeleton": HAND.to_json()}, r"points has the shape \(n, 17, 2\); expected \(n, 2, 2\)"),
        (
            {"fit": "crop"},
            "fit is 'crop'; expected one of letterbox, letterbox-center,",
        ),
        ({"score_threshold": "nan"}, r"score_threshold is nan; expected a finite number 0\.\.1"),
        ({"score_threshold": "-0.1"}, "metadata: score_threshold is -0.1; expected"),
        ({"nms_iou_threshold": "1e9"}, r"nms_iou_threshold is 1000000000\.0; expected"),
        ({"nms_iou_threshold": "inf"}, "metadata: nms_iou_threshold is inf; expected"),
    ],
)
def test_broken_metadata_is_rejected_with_a_reason(
    tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    fields = file_metadata(open_onnx_file(write_pose_model(tmp_path / "good.onnx"), optimize=False))
    changed = {**fields, **changes}
    metadata = {key: value for key, value in changed.items() if value is not None}
    path = write_pose_model(tmp_path / "bad.onnx", metadata=metadata)
    with pytest.raises(ValueError, match=message) as raised:
        Session(path)
    assert str(raised.value).startswith(str(path))


def test_graph_that_contradicts_its_metadata_is_rejected(tmp_path: Path) -> None:
    path = write_detector_model(
        tmp_path / "odd.onnx", metadata=metadata_of("pose", CANVAS, skeleton="{}")
    )
    with pytest.raises(ValueError, match="metadata"):
        Session(path)
    path = write_pose_model(tmp_path / "odd.onnx", metadata=metadata_of("detect", CROP))
    with pytest.raises(ValueError, match=r"says it is a detect model, but takes .*crops"):
        Session(path)


def test_model_of_another_task_is_rejected(pose: Path, detector: Path) -> None:
    with pytest.raises(ValueError, match="is a detect model; expected a pose model"):
        PoseEstimator(Session(detector))
    with pytest.raises(ValueError, match="is a pose model; expected a person detector"):
        Detector(Session(pose))


def test_batch_of_wrong_type_or_size_is_rejected(pose: Path) -> None:
    session = Session(pose, threads=1)
    with pytest.raises(ValueError, match=r"batch is float32 .*expects uint8 \(n, 64, 48, 3\)"):
        session.run(np.zeros((1, *CROP, 3), np.float32), ("points",))
    with pytest.raises(ValueError, match=r"batch is uint8 \(1, 48, 64, 3\)"):
        session.run(np.zeros((1, CROP.width, CROP.height, 3), np.uint8), ("points",))
    with pytest.raises(
        ValueError, match="has no output heatmaps; expected some of points, scores, covariances"
    ):
        session.run(np.zeros((1, *CROP, 3), np.uint8), ("heatmaps",))


@pytest.mark.parametrize("threads", [-1, 0, 100_000])
def test_impossible_number_of_threads_is_rejected(pose: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; expected 1..1024"):
        Session(pose, threads=threads)
