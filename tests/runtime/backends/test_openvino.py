from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import slimpose
from slimpose.media.images import read_image
from slimpose.runtime import models
from slimpose.runtime.auto_backend import choices_for_file
from slimpose.runtime.backends import openvino
from slimpose.runtime.backends.available import backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.backends.openvino import BATCH_SIZE
from slimpose.runtime.machine import read_machine
from slimpose.runtime.session import Session
from synthetic_models import CROP, metadata_of, write_pose_model

PHOTOS = Path(__file__).parents[3] / "examples" / "photos"


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


@pytest.mark.parametrize("count", [0, 1, 2, BATCH_SIZE, BATCH_SIZE + 1, 2 * BATCH_SIZE + 3])
def test_any_batch_has_the_same_outputs_as_in_onnxruntime(pose: Path, count: int) -> None:
    crops = np.random.default_rng(count).integers(0, 256, (count, *CROP, 3), dtype=np.uint8)
    names = ("scores", "points", "covariances")
    expected = Session(pose, threads=1).run(crops, names)
    actual = Session(pose, threads=1, backend="openvino").run(crops, names)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_outputs_are_not_overwritten_by_the_next_call(pose: Path) -> None:
    session = Session(pose, threads=1, backend="openvino")
    crops = np.zeros((2, 1, *CROP, 3), np.uint8)
    crops[1, 0, 40, 30] = 255
    (first,) = session.run(crops[0], ("points",))
    copy = first.copy()
    session.run(crops[1], ("points",))
    np.testing.assert_array_equal(first, copy)


def test_file_that_is_not_a_model_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("no model")
    with pytest.raises(ValueError, match="not an ONNX file"):
        Session(path, backend="openvino")


@pytest.mark.parametrize(
    ("architecture", "features", "precision", "is_rejected"),
    [
        ("x86_64", {"avx2": True, "vnni": False}, "int8", True),
        ("x86_64", {"avx2": True, "vnni": True}, "int8", False),
        ("x86_64", {"avx2": True, "vnni": False}, "fp32", False),
        ("aarch64", {"dotprod": False}, "int8", False),
        ("x86_64", {}, "int8", False),  # unknown features
    ],
)
def test_int8_is_rejected_where_its_sums_overflow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    features: dict[str, bool],
    precision: str,
    is_rejected: bool,
) -> None:
    machine = dataclasses.replace(read_machine(), features=features, architecture=architecture)
    monkeypatch.setattr(openvino, "read_machine", lambda: machine)
    path = write_pose_model(
        tmp_path / "some.onnx", metadata=metadata_of("pose", CROP, precision=precision)
    )
    for requested in (None, "any"):
        tried = {choice.backend for choice in choices_for_file(path, requested, backends())}
        assert ("openvino" in tried) is not is_rejected
    if is_rejected:
        with pytest.raises(
            BackendError,
            match=r"some\.onnx is INT8.* without VNNI.*expected --backend onnxruntime",
        ):
            Session(path, backend="openvino")
    else:
        assert Session(path, backend="openvino").precision == precision


def test_shipped_models_agree_within_a_twentieth_of_a_pixel() -> None:
    if not models.shipped():
        pytest.skip("this checkout has no weights")
    pipelines = [
        slimpose.load(threads=1, backend=backend) for backend in ("onnxruntime", "openvino")
    ]
    assert pipelines[1].estimator.session.backend == "openvino"  # pyright: ignore[reportAttributeAccessIssue]
    people = 0
    for photo in sorted(PHOTOS.glob("*.jpg"))[:2]:
        image = read_image(photo)
        expected, actual = (pipeline(image) for pipeline in pipelines)
        people += len(expected)
        np.testing.assert_allclose(actual.boxes_image, expected.boxes_image, atol=0.05)
        np.testing.assert_allclose(actual.points_image, expected.points_image, atol=0.05)
    assert people > 0
