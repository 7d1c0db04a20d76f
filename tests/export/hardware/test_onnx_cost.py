from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from foreign_models import SIZE, save_graph
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.runtime.models import shipped
from slimpose.runtime.session import Session

SHARED = Path(__file__).parents[4] / "shared"


def test_cost_of_a_foreign_graph_is_the_sum_of_its_layers(tmp_path: Path) -> None:
    """Convolutions 3x3 s2, depthwise, transposed 4x4 s2; product of two activations; dense."""
    constants = {
        "a": np.zeros((8, 3, 3, 3), np.float32),
        "a_bias": np.zeros(8, np.float32),
        "b": np.zeros((8, 1, 3, 3), np.float16),  # stored as half, cast in the graph
        "c": np.zeros((8, 5, 4, 4), np.float32),
        "d": np.zeros((24 * 32 * 5 * 4, 10), np.float32),
        "flat": np.array([1, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "a", "a_bias"], ["p"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["p", "b_float"], ["q"], group=8, pads=[1] * 4),
        helper.make_node("ConvTranspose", ["q", "c"], ["r"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Transpose", ["r"], ["s"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["r", "s"], ["t"]),
        helper.make_node("Reshape", ["r", "flat"], ["u"]),
        helper.make_node("Gemm", ["u", "d"], ["v"]),
    ]
    path = save_graph(
        tmp_path / "net.onnx",
        nodes,
        constants,
        image=(TensorProto.FLOAT, ["n", 3, *SIZE]),
        outputs={"v": [1, 10], "t": [1, 5, 64, 64]},
    )
    cost = cost_of_onnx(path)
    half = 32 * 24
    layers = [27 * 8 * half, 9 * 8 * half, 8 * 5 * 16 * half, 5 * 64 * 64 * 48, 64 * 48 * 5 * 10]
    assert cost.macs == sum(layers)
    assert cost.params == 8 * 27 + 8 + 8 * 9 + 8 * 5 * 16 + 24 * 32 * 5 * 4 * 10
    assert cost.left_out == ()


def test_unknown_shape_is_reported(tmp_path: Path) -> None:
    path = save_graph(
        tmp_path / "net.onnx",
        [helper.make_node("Conv", ["image", "a"], ["p"], name="first")],
        {"a": np.zeros((8, 3, 3, 3), np.float32)},
        image=(TensorProto.FLOAT, ["n", 3, "h", "w"]),
        outputs={"p": ["n", 8, "a", "b"]},
    )
    with pytest.raises(ValueError, match="the shape of 'p' at Conv 'first' is not known"):
        cost_of_onnx(path)


def test_shipped_models_cost_what_their_metadata_says() -> None:
    if not shipped():
        pytest.skip("needs the shipped weights")
    for path in shipped().values():
        # The metadata leave out that heatmaps of hr and hr-fast are resampled at our cells.
        rel = 0.015 if path.stem.startswith("hr") else 0.001
        assert cost_of_onnx(path).gmac == pytest.approx(Session(path).info.gmac, rel=rel)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "gmac"), [("thunder", 1.22), ("lightning", 0.27)])
def test_published_movenet_costs_what_is_known(name: str, gmac: float) -> None:
    path = SHARED / "peers" / f"movenet-{name}.onnx"
    if not path.exists():
        pytest.skip("needs the published models")
    assert cost_of_onnx(path).gmac == pytest.approx(gmac, rel=0.01)
