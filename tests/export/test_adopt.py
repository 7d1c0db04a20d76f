"""Networks of other projects become files of slimpose that give the same points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foreign_models import (
    DETECTOR_SIZE,
    SIZE,
    box_outputs,
    save_graph,
    write_outputs,
    write_simcc,
)
from run_main import run_main
from slimpose.export.adopt import adopt
from slimpose.geometry import CellAlignment
from slimpose.runtime.session import Session
from synthetic_models import write_pose_model

TEXTS = {"license_text": "Apache-2.0", "origin": "a test"}
CROPS = np.random.default_rng(2).integers(0, 256, (5, *SIZE, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_net(path: Path, *, batch: int | str = "n", kind: int = TensorProto.FLOAT) -> Path:
    """Write a net whose 17 heatmaps are weighted sums of the pixels around."""
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 0.05, (17, 3, 12, 12)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "weights"], ["raw"], strides=[4, 4], pads=[4] * 4),
        helper.make_node("Sigmoid", ["raw"], ["maps"]),
    ]
    image = (kind, [batch, 3, *SIZE])
    outputs: dict[str, Any] = {"maps": [batch, 17, 16, 12]}
    return save_graph(path, nodes, {"weights": weights}, image=image, outputs=outputs)


@pytest.mark.parametrize("alignment", ["multiples", "corners", "centers"])
@pytest.mark.parametrize("bgr", [False, True])
def test_adopted_heatmap_net_gives_the_same_points(
    tmp_path: Path, alignment: CellAlignment, *, bgr: bool
) -> None:
    path, out = write_net(tmp_path / "net.onnx"), tmp_path / "mine.onnx"
    path.with_suffix(".toml").write_text(f'alignment = "{alignment}"\nbgr = {str(bgr).lower()}\n')
    drift = adopt(path, out, **TEXTS, images=CROPS)
    assert drift.pixels < 0.01
    theirs, ours = Session(path), Session(out)
    assert (theirs.info.kind, ours.info.kind, ours.info.name) == ("heatmaps", "", "mine")
    assert ours.info.card["license"] == "Apache-2.0"
    assert ours.info.card["start"] == "a test"
    assert ours.info.gmac > 0
    for name in ("points", "scores", "covariances", "heatmaps"):
        ((expected,), (found,)) = (model.run(CROPS, (name,)) for model in (theirs, ours))
        np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.02, err_msg=name)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT16])
def test_other_input_types_and_a_fixed_batch_are_adopted(tmp_path: Path, kind: int) -> None:
    path = write_net(tmp_path / "net.onnx", batch=1, kind=kind)
    adopt(path, tmp_path / "mine.onnx", **TEXTS, images=CROPS)
    shape = onnx.load(tmp_path / "mine.onnx").graph.input[0].type.tensor_type.shape
    assert shape.dim[0].dim_param == "n"


def test_simcc_net_is_adopted_by_the_command(tmp_path: Path, capsys: Any) -> None:
    path, out = write_simcc(tmp_path / "net.onnx"), tmp_path / "mine.onnx"
    said = ["--license", "MIT", "--origin", "MMPose", "--mean", "0", "0", "0"]
    assert run_main("adopt", path, "--out", out, *said) == 0
    assert "differs from net.onnx by at most 0 px" in capsys.readouterr().out
    points, theirs = (Session(file).run(CROPS, ("points",))[0] for file in (out, path))
    np.testing.assert_allclose(points, theirs)
    card = json.loads({one.key: one.value for one in onnx.load(out).metadata_props}["card"])
    assert card["adopted_from"].startswith("net.onnx sha256 ")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_pose_model, "is a file of slimpose; expected a heatmap or SimCC network"),
        (
            lambda path: write_outputs(path, DETECTOR_SIZE, box_outputs()["yolo"]),
            "is yolo; expected a heatmap or SimCC network",
        ),
    ],
)
def test_other_models_are_not_adopted(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=message):
        adopt(tmp_path / "net.onnx", tmp_path / "mine.onnx", **TEXTS, images=CROPS)
    assert not (tmp_path / "mine.onnx").exists()


def test_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "slimpose.export.adopt.cell_steps",
        lambda facts, cells: (np.full(2, facts.stride, np.float32), 0.5),
    )
    path = write_net(tmp_path / "net.onnx")
    with pytest.raises(RuntimeError, match=r"differs from .* by 0\.5 px .*nothing was written"):
        adopt(path, tmp_path / "mine.onnx", **TEXTS, images=CROPS)
    assert not (tmp_path / "mine.onnx").exists()


@pytest.mark.parametrize("half", [False, True])
def test_heatmaps_with_channels_last_are_adopted(tmp_path: Path, *, half: bool) -> None:
    file = onnx.load(write_net(tmp_path / "net.onnx"))
    file.graph.node.append(helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]))
    kind, name = (TensorProto.FLOAT16, "half") if half else (TensorProto.FLOAT, "last")
    file.graph.node.append(helper.make_node("Cast", ["last"], ["half"], to=TensorProto.FLOAT16))
    file.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, kind, ["n", 16, 12, 17]))
    onnx.save(file, tmp_path / "net.onnx")
    assert adopt(tmp_path / "net.onnx", tmp_path / "mine.onnx", **TEXTS, images=CROPS).pixels < 0.01


def test_simcc_axes_are_adopted_in_the_order_of_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    outputs = {
        name: rng.random((1, 17, 2 * side), np.float32)
        for name, side in (("simcc_y", SIZE.height), ("simcc_x", SIZE.width))
    }
    path = write_outputs(tmp_path / "net.onnx", SIZE, outputs)
    adopt(path, tmp_path / "mine.onnx", **TEXTS, images=CROPS)
    (points,) = Session(tmp_path / "mine.onnx").run(CROPS, ("points",))
    expected = np.stack([outputs[f"simcc_{axis}"][0].argmax(axis=1) / 2 for axis in "xy"], axis=1)
    np.testing.assert_allclose(points, np.tile(expected, (5, 1, 1)), atol=1e-4)
