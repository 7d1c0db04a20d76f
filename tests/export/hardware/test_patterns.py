"""The graph of an ONNX file, and the layers that are recognized in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lint_graphs import Sketch, one_layer, squeeze_excite
from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.graph import graph_of, read_graph
from slimpose.export.hardware.layers import Layer
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target
from slimpose.runtime.models import shipped


def _layers(model: Any, **arguments: Any) -> list[Layer]:
    """Return the layers without the one about the file."""
    return layers_of(graph_of(model), **arguments)[1:]


def _kinds(model: Any) -> list[str]:
    return [layer.kind for layer in _layers(model)]


def _gate(*, times: bool, divide: bool = True, product_first: bool = False) -> Any:
    """Return a hard sigmoid or hard swish of several operators."""
    sketch = Sketch().conv(8, 8)
    source = sketch.last
    sketch.node("Add", "*", sketch.constant(3.0))
    sketch.node("Clip", "*", sketch.constant(0.0), sketch.constant(6.0))
    if product_first:
        return sketch.node("Mul", source, "*").node("Div", "*", sketch.constant(6.0)).model()
    sixth = ("Div", 6.0) if divide else ("Mul", 1 / 6)
    sketch.node(sixth[0], "*", sketch.constant(sixth[1]))
    return (sketch.node("Mul", "*", source) if times else sketch).model()


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (one_layer("swish"), ["conv", "swish"]),
        (one_layer("relu6"), ["conv", "relu6"]),
        (one_layer("clip"), ["conv", "clip"]),
        (_gate(times=False), ["conv", "hard-sigmoid"]),
        (_gate(times=False, divide=False), ["conv", "hard-sigmoid"]),
        (_gate(times=True), ["conv", "hard-swish"]),
        (_gate(times=True, divide=False), ["conv", "hard-swish"]),
        (_gate(times=True, product_first=True), ["conv", "hard-swish"]),
        (Sketch().conv(8, 8).node("HardSigmoid", alpha=0.2).model(), ["conv", "HardSigmoid"]),
        (
            Sketch().conv(8, 8).node("HardSigmoid", alpha=1 / 6).node("Mul", "*", "y0").model(),
            ["conv", "hard-swish"],
        ),
        (Sketch().node("Sigmoid").node("Mul", "*", "y0").model(), ["sigmoid", "mul"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_patterns_are_recognized(model: Any, kinds: list[str]) -> None:
    assert _kinds(model) == kinds


@pytest.mark.parametrize("mean", [False, True], ids=["global average pool", "mean over the map"])
@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_squeeze_and_excite_is_one_block(gate: str, mean: bool) -> None:
    layers = _layers(squeeze_excite(gate=gate, mean=mean))
    inside = [layer.kind for layer in layers if layer.block == "squeeze-and-excite 1"]
    last = "sigmoid" if gate == "Sigmoid" else gate
    assert inside == ["global-average-pool", "conv", "swish", "conv", last, "mul"]
    assert [layer.kind for layer in layers if not layer.block][:2] == ["conv", "swish"]
    assert layers[-1].kind == "conv"
    assert not layers[-1].block


def test_an_average_without_a_gate_is_not_a_block() -> None:
    sketch = Sketch().conv(8, 8).node("GlobalAveragePool").conv(4, 8).node("Sigmoid")
    assert not any(layer.block for layer in _layers(sketch.model()))


@pytest.mark.parametrize(
    ("kind", "channels", "macs"),
    [
        ("conv", 8, 3 * 3 * 8 * 8 * 16 * 16),  # weight elements times output pixels
        ("depthwise-conv", 8, 3 * 3 * 8 * 16 * 16),
        ("depthwise-conv-multiplied", 8, 3 * 3 * 16 * 14 * 14),
        ("deconv", 8, 4 * 4 * 8 * 8 * 16 * 16),  # times INPUT pixels, whatever the stride
        ("grouped-conv", 8, 3 * 3 * 8 * 8 // 2 * 16 * 16),
    ],
)
def test_multiply_adds_of_convolutions(kind: str, channels: int, macs: int) -> None:
    (layer,) = _layers(one_layer(kind, shape=(1, channels, 16, 16)))
    assert (layer.kind, layer.macs) == (kind, macs)


def test_an_activation_is_not_fused_into_a_shared_convolution() -> None:
    sketch = Sketch().conv(8, 8)
    shared = sketch.last
    model = sketch.node("Relu").node("Add", "*", shared).model()
    relu = next(layer for layer in _layers(model) if layer.kind == "relu")
    assert relu.facts["after"] == "shared conv"
    report = check_layers([relu], load_target("dpu-b1024"))
    assert [finding.rule for finding in report.verdicts[0].findings] == ["relu-after"]


def test_a_quantized_file_is_checked_as_its_float_network() -> None:
    sketch = Sketch()
    scale = sketch.constant(0.1), sketch.constant(0, np.int8)
    sketch.node("QuantizeLinear", "*", *scale).node("DequantizeLinear", "*", *scale).conv(8, 8)
    sketch.node("QuantizeLinear", "*", *scale).node("DequantizeLinear", "*", *scale).node("Relu")
    layers = _layers(sketch.model())
    assert [layer.kind for layer in layers] == ["conv", "relu"]
    assert layers[1].facts["after"] == "conv"


def test_fp16_weights_with_a_cast_are_constants() -> None:
    sketch = Sketch()
    weights = sketch.weights(8, 8, 1, 1)
    sketch.initializers[-1].data_type = TensorProto.FLOAT16
    sketch.initializers[-1].raw_data = bytes(2 * 64)
    sketch.node("Cast", weights, to=TensorProto.FLOAT)
    (layer,) = _layers(sketch.node("Conv", "x", "*").model())
    assert layer.kind == "conv"
    assert layer.facts["constant_weights"]


def test_a_free_batch_is_set() -> None:
    sketch = Sketch(("n", 8, 16, 16)).conv(8, 8)
    for batch, first in ((None, 1), (4, 4)):
        graph = graph_of(sketch.model(), batch=batch)
        assert graph.shapes["y0"] == (first, 8, 16, 16)


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_multiply_adds_are_those_of_the_whole_batch(operator: str) -> None:
    sketch = Sketch(("n", 8, 16, 16))
    sketch.node(operator, "x", sketch.weights(8, 8, 1, 1))
    counts = [
        sum(layer.macs for layer in layers_of(graph_of(sketch.model(), batch=batch)))
        for batch in (1, 5)
    ]
    assert counts == [8 * 8 * 256, 5 * 8 * 8 * 256]


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        (
            (1, 3, "height", 16),
            {},
            r"dimension 2 of input 'x' is free \(height\).*--shape x=1x3xNx16",
        ),
        ((1, 3, 16, 16), {"batch": 2}, "dimension 0 of input 'x' is 1 in the file, not 2"),
        (
            (1, 3, 16, 16),
            {"shapes": {"images": (1, 3, 8, 8)}},
            "--shape names images; expected inputs of the model: x",
        ),
        (
            (1, 3, "h", "w"),
            {"shapes": {"x": (1, 3, 8)}},
            "--shape x has 3 dimensions; expected 4",
        ),
        (
            (1, 3, "h", 16),
            {"shapes": {"x": (1, 3, 8, 8)}},
            "dimension 3 of input 'x' is 16 in the file, not 8",
        ),
    ],
)
def test_free_or_wrong_dimensions_are_rejected(
    shape: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        graph_of(Sketch(shape).conv(8, 3).model(), **arguments)


def test_free_dimensions_are_set_by_shape() -> None:
    graph = graph_of(Sketch(("n", 3, "h", "w")).conv(8, 3).model(), shapes={"x": (2, 3, 32, 24)})
    assert graph.shapes["y0"] == (2, 8, 32, 24)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a model", "is not an ONNX file"),
        (b"", r"has no layers \(is it an ONNX file\?\)"),
    ],
)
def test_a_file_that_is_not_a_model_is_rejected(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_graph(path)


def test_an_invalid_operator_is_named() -> None:
    with pytest.raises(
        ValueError,
        match="DepthToSpace 'DepthToSpace_0' is not valid ONNX: it lacks the parameter 'blocksize'",
    ):
        _layers(Sketch().node("DepthToSpace").model())


@pytest.mark.parametrize(
    ("name", "counted", "macs", "first"),
    [
        ("mnv2", 104, 292_718_592, ["Cast", "transpose"]),  # the README's 0.293 GMAC
        ("detector", 207, 511_850_724, ["Cast", "transpose"]),  # 0.512
    ],
)
def test_slimpose_files_define_where_the_network_ends(
    name: str, counted: int, macs: int, first: list[str]
) -> None:
    graph = read_graph(shipped()[name])
    report = check_layers(layers_of(graph), load_target("tensorrt-10"))
    assert (len(report.counted), report.macs) == (counted, macs)
    before = [verdict.layer.kind for verdict in report.verdicts if verdict.layer.part == "before"]
    assert before == [*first, "sub", "div"]
    decoding = {
        verdict.layer.kind for verdict in report.verdicts if verdict.layer.part == "decoding"
    }
    assert {"GatherElements", "sub"} <= decoding
    graph.metadata = {}
    whole = check_layers(layers_of(graph), load_target("tensorrt-10"))
    assert len(whole.counted) == len(report.verdicts) - 1


def test_the_end_of_other_networks_is_an_option() -> None:
    sketch = Sketch().node("Abs").conv(8, 8).node("Relu", output="map").node("Exp")
    parts = [(layer.kind, layer.part) for layer in _layers(sketch.model(), until=("map",))]
    assert parts == [("Abs", "before"), ("conv", "body"), ("relu", "body"), ("Exp", "decoding")]
    assert {layer.part for layer in _layers(sketch.model())} == {"body"}
    with pytest.raises(ValueError, match="no layer computes heatmaps"):
        _layers(sketch.model(), until=("heatmaps",))


def test_the_cost_of_a_file_includes_quantized_operators(tmp_path: Path) -> None:
    sketch = Sketch(kind=TensorProto.UINT8)
    weights, bias = sketch.weights(4, 8, 3, 3, dtype=np.int8), sketch.weights(4, dtype=np.int32)
    byte = [sketch.constant(0.1), sketch.constant(0, np.uint8)]
    signed = [sketch.constant(0.1), sketch.constant(0, np.int8)]
    sketch.node("QLinearConv", "x", *byte, weights, *signed, *byte, bias, pads=[1] * 4)
    onnx.save(sketch.node("DequantizeLinear", "*", *byte).model(), str(tmp_path / "net.onnx"))
    cost = cost_of_onnx(tmp_path / "net.onnx")
    assert (cost.macs, cost.params) == (4 * 8 * 3 * 3 * 16 * 16, 4 * 8 * 3 * 3 + 4)
