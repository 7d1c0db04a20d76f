from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import slimpose
from slimpose.media.images import read_image
from slimpose.runtime import models
from slimpose.runtime.auto_backend import choices_for
from slimpose.runtime.backends import available, onnxruntime_gpu, openvino
from slimpose.runtime.backends.available import backends, versions
from slimpose.runtime.backends.base import BackendError, resolve_precision
from slimpose.runtime.backends.openvino import BATCH_SIZE
from slimpose.runtime.machine import read_machine
from slimpose.runtime.session import Session
from synthetic_models import CROP, metadata_of, write_detector_model, write_pose_model

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.mark.parametrize(
    ("own", "asked", "offered", "expected"),
    [
        ("fp32", "", ("fp32", "bf16"), "fp32"),
        ("fp32", "fp32", (), "fp32"),
        ("int8", "", (), "int8"),  # the file's own layers, in any backend
        ("int8", "int8", (), "int8"),
        ("fp32", "bf16", ("fp32", "bf16"), "bf16"),
        ("int8", "bf16", ("fp32", "bf16"), "int8+bf16"),  # what is left in float
    ],
)
def test_a_file_is_computed_in_its_own_precision_or_the_one_asked_for(
    own: str, asked: str, offered: tuple[str, ...], expected: str
) -> None:
    assert resolve_precision("openvino", own=own, asked=asked, offered=offered) == expected


@pytest.mark.parametrize(
    ("own", "asked", "message"),
    [
        ("fp32", "int8", "the file is fp32; expected an INT8 file for int8.*slimpose quantize"),
        ("int8", "fp32", "the file is int8, and its layers stay so; expected an FP32 file"),
        (
            "fp32",
            "bf16",
            "onnxruntime does not compute in bf16 on this machine; expected fp32, or another backend",
        ),
        ("fp32", "fp7", "no precision is named 'fp7'; expected one of fp32, fp16, bf16, int8"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(own: str, asked: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        resolve_precision("onnxruntime", own=own, asked=asked, offered=("fp32",))


def test_a_session_says_what_computes_it(pose: Path) -> None:
    session = Session(pose, threads=1)
    assert (session.backend, session.precision, session.threads) == ("onnxruntime", "fp32", 1)
    with pytest.raises(
        BackendError, match="no backend is named 'torch'; expected one of onnxruntime, openvino"
    ):
        Session(pose, backend="torch")
    with pytest.raises(BackendError, match="onnxruntime does not compute in bf16"):
        Session(pose, precision="bf16")


@pytest.mark.usefixtures("without_openvino")
def test_a_backend_that_is_not_installed_is_refused_with_the_line_that_installs_it(
    pose: Path,
) -> None:
    with pytest.raises(
        BackendError, match=r'OpenVINO is not installed: pip install "slimpose\[openvino\]"'
    ):
        Session(pose, backend="openvino")
    assert backends()["openvino"].install == 'pip install "slimpose[openvino]"'
    assert "openvino" not in versions(backends())
    Session(pose, threads=1)  # the others do not need it


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
def test_without_an_nvidia_runtime_that_is_said(pose: Path, backend: str) -> None:
    if onnxruntime_gpu.PROVIDERS[backend] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(
        BackendError, match=rf"{backend} is not there: this ONNX Runtime has .*onnxruntime-gpu"
    ):
        Session(pose, backend=backend)


class FakeSession(onnxruntime.InferenceSession):
    """On the CPU, whatever it says."""

    says: tuple[str, ...] = ()

    def get_providers(self) -> list[str]:
        return list(self.says)


class FakeOpening:
    """Stands for ``open_onnx_file`` where there is an NVIDIA runtime, whose libraries may be missing."""

    def __init__(self, *, is_loaded: bool) -> None:
        self._is_loaded = is_loaded
        self.providers: list[Any] = []

    def __call__(self, path: Path, *, providers: Any = (), **_: Any) -> FakeSession:
        self.providers = list(providers)
        session = FakeSession(str(path), providers=["CPUExecutionProvider"])
        names = tuple(one if isinstance(one, str) else one[0] for one in providers)
        session.says = names if self._is_loaded else ("CPUExecutionProvider",)
        return session


@pytest.fixture
def as_if_nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [*onnxruntime_gpu.PROVIDERS.values(), "CPU"]
    )


@pytest.mark.parametrize(("precision", "half"), [("", "False"), ("fp16", "True")])
@pytest.mark.usefixtures("as_if_nvidia")
def test_tensorrt_is_asked_for_one_engine_for_all_batch_sizes(
    pose: Path, monkeypatch: pytest.MonkeyPatch, precision: str, half: str
) -> None:
    available = FakeOpening(is_loaded=True)
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", available)
    session = Session(pose, backend="tensorrt", precision=precision)
    name, options = available.providers[0]
    assert name == "TensorrtExecutionProvider"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (half, "False")
    assert options["trt_profile_min_shapes"] == f"crops:1x{CROP.height}x{CROP.width}x3"
    assert options["trt_profile_max_shapes"] == f"crops:64x{CROP.height}x{CROP.width}x3"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert session.precision == (precision or "fp32")
    assert session.run(np.zeros((2, *CROP, 3), np.uint8), ("points",))[0].shape == (2, 17, 2)


@pytest.mark.usefixtures("as_if_nvidia")
def test_an_int8_file_turns_tensorrts_int8_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = metadata_of("pose", CROP, precision="int8")
    path = write_pose_model(tmp_path / "int8.onnx", metadata=metadata)
    available = FakeOpening(is_loaded=True)
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", available)
    assert Session(path, backend="tensorrt").precision == "int8"
    assert available.providers[0][1]["trt_int8_enable"] == "True"


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
@pytest.mark.usefixtures("as_if_nvidia")
def test_a_device_that_cannot_be_started_is_no_silent_fallback(
    pose: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(onnxruntime_gpu, "open_onnx_file", FakeOpening(is_loaded=False))
    with pytest.raises(
        BackendError, match=f"{backend} is in this ONNX Runtime but could not be started"
    ):
        Session(pose, backend=backend)


@pytest.mark.usefixtures("as_if_nvidia")
def test_another_files_engine_is_never_taken(tmp_path: Path) -> None:
    one, other = write_pose_model(tmp_path / "a.onnx"), write_detector_model(tmp_path / "b.onnx")
    folders = {
        onnxruntime_gpu.engine_folder(path, precision)
        for path in (one, other)
        for precision in ("fp32", "fp16")
    }
    assert len(folders) == 4


class TestOpenVino:
    @pytest.mark.parametrize("count", [0, 1, 2, BATCH_SIZE, BATCH_SIZE + 1, 2 * BATCH_SIZE + 3])
    def test_any_number_of_people_gets_the_same_points_as_in_onnx_runtime(
        self, pose: Path, count: int
    ) -> None:
        crops = np.random.default_rng(count).integers(0, 256, (count, *CROP, 3), dtype=np.uint8)
        names = ("scores", "points", "covariances")
        expected = Session(pose, threads=1).run(crops, names)
        found = Session(pose, threads=1, backend="openvino").run(crops, names)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=1e-4)

    def test_an_answer_stays_when_the_next_call_is_made(self, pose: Path) -> None:
        session = Session(pose, threads=1, backend="openvino")
        crops = np.zeros((2, 1, *CROP, 3), np.uint8)
        crops[1, 0, 40, 30] = 255
        (first,) = session.run(crops[0], ("points",))
        kept = first.copy()
        session.run(crops[1], ("points",))
        np.testing.assert_array_equal(first, kept)

    def test_a_file_that_is_not_ours_is_refused_alike(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.onnx"
        path.write_text("no model")
        with pytest.raises(ValueError, match="not an ONNX file"):
            Session(path, backend="openvino")

    @pytest.mark.parametrize(
        ("architecture", "features", "precision", "is_refused"),
        [
            ("x86_64", {"avx2": True, "vnni": False}, "int8", True),
            ("x86_64", {"avx2": True, "vnni": True}, "int8", False),
            ("x86_64", {"avx2": True, "vnni": False}, "fp32", False),
            ("aarch64", {"dotprod": False}, "int8", False),
            ("x86_64", {}, "int8", False),  # not to be learned
        ],
    )
    def test_int8_is_refused_where_its_sums_overflow(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        architecture: str,
        features: dict[str, bool],
        precision: str,
        is_refused: bool,
    ) -> None:
        machine = dataclasses.replace(read_machine(), features=features, architecture=architecture)
        for module in (openvino, available):
            monkeypatch.setattr(module, "read_machine", lambda: machine)
        path = write_pose_model(
            tmp_path / "some.onnx", metadata=metadata_of("pose", CROP, precision=precision)
        )
        for asked in ("", "any"):
            tried = {choice.backend for choice in choices_for(path, asked, backends())}
            assert ("openvino" in tried) is not is_refused
        if is_refused:
            with pytest.raises(
                BackendError,
                match=r"some\.onnx is INT8.* without VNNI.*expected --backend onnxruntime",
            ):
                Session(path, backend="openvino")
        else:
            assert Session(path, backend="openvino").precision == precision

    def test_the_shipped_models_give_the_same_within_a_twentieth_of_a_pixel(self) -> None:
        if not models.shipped():
            pytest.skip("this checkout has no weights")
        pipelines = [
            slimpose.load(threads=1, backend=backend) for backend in ("onnxruntime", "openvino")
        ]
        assert pipelines[1].estimator.session.backend == "openvino"  # pyright: ignore[reportAttributeAccessIssue]
        people = 0
        for photo in sorted(PHOTOS.glob("*.jpg"))[:2]:
            image = read_image(photo)
            expected, found = (pipeline(image) for pipeline in pipelines)
            people += len(expected)
            np.testing.assert_allclose(found.boxes_image, expected.boxes_image, atol=0.05)
            np.testing.assert_allclose(found.points_image, expected.points_image, atol=0.05)
        assert people > 0
