"""Batches of files of other projects, and files that are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foreign_models import (
    CROPS,
    DETECTOR_SIZE,
    JOINTS_PX,
    SIZE,
    box_outputs,
    people_outputs,
    save_graph,
    write_constant,
    write_heatmaps,
    write_movenet,
    write_outputs,
    write_relu,
    write_simcc,
)
from slimpose.runtime.backends.available import read_metadata
from slimpose.runtime.foreign import free_batch
from slimpose.runtime.session import Session, models_of_tasks
from synthetic_models import write_pose_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_fixed(path: Path, *, is_mixing: bool = False) -> Path:
    """Write a heatmap net of batch size 1: brightness shows which crop a map is of.

    A mixing net adds the sum over the batch: freed, it would compute other values.
    """
    last = "summed" if is_mixing else "mean"
    nodes = [
        helper.make_node("ReduceMean", ["image", "inner"], ["mean"], keepdims=1),
        helper.make_node("ReduceSum", ["mean", "first"], ["summed"], keepdims=1),
        helper.make_node("Mul", [last, "maps"], ["raw"]),
        helper.make_node("Reshape", ["raw", "shape"], ["heatmaps"]),
    ]
    constants = {
        "inner": np.array([1, 2, 3], np.int64),
        "first": np.array([0], np.int64),
        "maps": np.eye(16, 12, dtype=np.float32)[None, None].repeat(17, 1),
        "shape": np.array([1, 17, 16, 12], np.int64),
    }
    image = (TensorProto.FLOAT, [1, 3, *SIZE])
    return save_graph(path, nodes, constants, image=image, outputs={"heatmaps": [1, 17, 16, 12]})


@pytest.mark.parametrize("is_mixing", [False, True])
def test_fixed_batch_is_freed_only_if_each_crop_keeps_its_values(
    tmp_path: Path, cache: Path, is_mixing: bool
) -> None:
    path = write_fixed(tmp_path / "net.onnx", is_mixing=is_mixing)
    (maps,) = Session(path).run(CROPS, ("heatmaps",))
    alone = [Session(path).run(CROPS[row : row + 1], ("heatmaps",))[0] for row in range(3)]
    np.testing.assert_allclose(maps, np.concatenate(alone), atol=1e-5)
    assert np.ptp(maps.max(axis=(1, 2, 3))) > 1e-4  # the crops differ
    (copy,) = (cache / "slimpose" / "free-batch").iterdir()
    assert (copy.stat().st_size == 0) == is_mixing
    if not is_mixing:
        sides = onnx.load(copy).graph.input[0].type.tensor_type.shape.dim
        assert sides[0].dim_param == "n"


def test_weights_of_another_file_are_never_older_than_it(tmp_path: Path, cache: Path) -> None:
    """The copy of a free batch size is known by the file, which other weights do not change."""
    found, files = [], []
    for is_mirrored in (False, True):
        model = onnx.load(write_fixed(tmp_path / "net.onnx"))
        maps = next(tensor for tensor in model.graph.initializer if tensor.name == "maps")
        values = numpy_helper.to_array(maps)
        maps.CopyFrom(numpy_helper.from_array(values[..., :: -1 if is_mirrored else 1], "maps"))
        (tmp_path / "weights.bin").unlink(missing_ok=True)
        onnx.save(
            model,
            tmp_path / "net.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=2000,
        )
        files.append((tmp_path / "net.onnx").read_bytes())
        found.append(Session(tmp_path / "net.onnx").run(CROPS, ("heatmaps",))[0])
    assert files[0] == files[1]
    assert found[0].shape == (3, 17, 16, 12)
    assert np.abs(found[0] - found[1]).max() > 0.1
    (copy,) = (cache / "slimpose" / "free-batch").iterdir()
    assert copy.stat().st_size == 0


def test_without_onnx_a_fixed_batch_runs_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_fixed(tmp_path / "net.onnx")
    (expected,) = Session(path).run(CROPS, ("points",))
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.setattr(free_batch, "cache_folder", lambda: tmp_path / "empty")
    (points,) = Session(path).run(CROPS, ("points",))
    np.testing.assert_allclose(points, expected)
    assert not (tmp_path / "empty").exists()


def test_fixed_batch_of_two_takes_three(tmp_path: Path) -> None:
    x = np.zeros((2, 17, 96), np.float32)
    y = np.zeros((2, 17, 128), np.float32)
    for joint, (px, py) in enumerate(JOINTS_PX):
        x[:, joint, round(2 * px)] = y[:, joint, round(2 * py)] = 0.9
    path = write_outputs(tmp_path / "net.onnx", SIZE, {"x": x, "y": y}, batch=2)
    points, none = (Session(path).run(CROPS[:n], ("points",))[0] for n in (3, 0))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)))
    assert none.shape == (0, 17, 2)


def test_openvino_runs_them_too(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_simcc(tmp_path / "net.onnx")
    (points,) = Session(path, backend="openvino").run(CROPS, ("points",))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)


def test_metadata_of_another_projects_file_names_its_kind(tmp_path: Path) -> None:
    paths = [
        write_simcc(tmp_path / "pose.onnx"),
        write_outputs(tmp_path / "boxes.onnx", DETECTOR_SIZE, box_outputs()["yolo"]),
        write_pose_model(tmp_path / "ours.onnx"),
    ]
    assert read_metadata(paths[0])["kind"] == "rtmpose"
    assert models_of_tasks(["pose"], paths) == [paths[0], paths[2]]
    assert Session(paths[2]).info.kind == ""


def write_classifier(path: Path) -> Path:
    return write_outputs(path, SIZE, {"classes": np.zeros((1, 5), np.float32)})


def write_int8(path: Path) -> Path:
    image = (TensorProto.INT8, [1, 3, *SIZE])
    return write_constant(path, image, maps=np.zeros((1, 17, 16, 12), np.float32))


def write_external(path: Path) -> Path:
    """Write a file whose weights are in another file, which is missing."""
    model = onnx.load(write_fixed(path))
    big = numpy_helper.from_array(np.zeros((17, 2000), np.float32), "big")
    model.graph.initializer.append(big)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()
    return path


def write_heads(path: Path, size: Any) -> Path:
    return write_outputs(path, size, people_outputs(17)["rtmo"])


def write_dets(path: Path) -> Path:
    return write_outputs(path, DETECTOR_SIZE, box_outputs()["rtmdet-nms"])


def write_fives(path: Path) -> Path:
    points = people_outputs(5)["rtmo"]
    return write_outputs(path, DETECTOR_SIZE, points)


@pytest.mark.parametrize(
    ("write", "settings", "message"),
    [
        (write_classifier, "", "the outputs of no model kind known"),
        (write_relu, "", "takes images of 8x8; expected sides of 16..8192 pixels"),
        (lambda path: write_movenet(path, joints=18), "", "the outputs of no model kind known"),
        (lambda path: write_simcc(path, height="h"), "", "exported with free height and width"),
        (lambda path: write_heads(path, (9000, 64)), "", "expected sides of 16..8192 pixels"),
        (write_int8, "", "INT8 inputs: export the net with float or uint8 inputs"),
        (write_external, "", "is not an ONNX file that ONNX Runtime can load"),
        (lambda path: path.write_bytes(b"no"), "", "is not an ONNX file that ONNX Runtime can"),
        (write_dets, "", "could be of 2 kinds; expected --model-kind"),
        (write_fives, "", "gives 5 joints, and no skeleton known here has as many"),
        (write_simcc, 'skeleton = "halpe26"', "gives 17 joints; skeleton halpe26 has 26"),
        (write_simcc, 'skeleton = "halp"', "no skeleton is named 'halp'; expected one of coco17"),
        (write_simcc, 'kind = "yolox"', "expected the outputs of yolox, as --model-kind or net.to"),
        (
            write_simcc,
            'kind = "yolo99"',
            "no model kind is named 'yolo99', as --model-kind or net.toml says; expected heatmaps,",
        ),
        (
            write_simcc,
            'skeleton = "net.json"',
            "/net.json (as --skeleton or net.toml says)",
        ),
        (write_simcc, "kind = rtmpose", "net.toml is not TOML"),
        (write_simcc, "means = [1, 2, 3]", "net.toml has 'means'; expected some of alignment"),
        (write_simcc, "mean = [1, 2]", "3 finite numbers: R, G, B"),
        (
            write_simcc,
            "std = [0, 1, 1]",
            "net.toml: std is 0.0; expected a finite number 1e-06..10000",
        ),
        (write_simcc, 'fit = "wide"', "fit is 'wide'; expected one of letterbox"),
        (write_simcc, 'size = "32x32"', "takes 64x48 pixels; its settings say 32x32"),
    ],
)
def test_file_that_cannot_be_run_is_rejected_in_one_line(
    tmp_path: Path, write: Any, settings: str, message: str
) -> None:
    write(tmp_path / "net.onnx")
    if settings:
        (tmp_path / "net.toml").write_text(settings)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is checked below
        Session(tmp_path / "net.onnx")
    assert message in str(raised.value)
    assert "net" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_of_free_size_runs_at_the_size_of_its_settings(tmp_path: Path) -> None:
    path = write_simcc(tmp_path / "net.onnx", height="h")
    (tmp_path / "net.toml").write_text('size = "64x48"')
    (points,) = Session(path).run(CROPS, ("points",))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)))


def test_free_outputs_are_found_by_running_the_file(tmp_path: Path) -> None:
    model = onnx.load(write_heatmaps(tmp_path / "net.onnx"))
    for side in model.graph.output[0].type.tensor_type.shape.dim:
        side.dim_param = "any"
    onnx.save(model, tmp_path / "net.onnx")
    assert Session(tmp_path / "net.onnx").info.stride == 4
