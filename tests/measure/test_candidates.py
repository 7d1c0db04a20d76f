from pathlib import Path

import pytest

from slimpose.measure.candidates import backend_choices, models_for_task, unique_names
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice
from slimpose.runtime.backends.available import BackendStatus
from slimpose.runtime.backends.base import BackendError
from synthetic_models import write_pose_model

AVAILABLE = {
    "onnxruntime": BackendStatus(
        name="onnxruntime", version="1", precisions=("fp32",), providers=(), install=""
    ),
    "openvino": BackendStatus(
        name="openvino", version="", precisions=(), providers=(), install="pip install it"
    ),
}


def test_only_installed_backends_are_measured(tmp_path: Path) -> None:
    pose = write_pose_model(tmp_path / "pose.onnx")
    assert backend_choices(pose, AVAILABLE) == [BackendChoice()]
    assert backend_choices(pose, AVAILABLE, precisions=("bf16",)) == []
    with pytest.raises(BackendError, match="openvino is not installed: pip install it"):
        backend_choices(pose, AVAILABLE, backends=("openvino",))
    with pytest.raises(BackendError, match="no backend is named 'tpu'"):
        backend_choices(pose, AVAILABLE, backends=("tpu",))


def test_files_of_one_stem_are_named_by_their_path() -> None:
    first, second, other = Path("a/best.onnx"), Path("b/best.onnx"), Path("b/net.onnx")
    names = {first: str(first), second: str(second), other: "net"}
    assert unique_names([first, second, other]) == names
    assert unique_names([other, other]) == {other: "net"}


def test_a_package_without_models_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pose = write_pose_model(tmp_path / "pose.onnx")
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "nothing")
    with pytest.raises(RuntimeError, match="built without weights; expected the name of a model"):
        models_for_task("pose")
    assert models_for_task("pose", [str(pose)]) == [pose]
