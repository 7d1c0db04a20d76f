"""The linter: what it reads in a file, what it recognizes, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from lint_graphs import Sketch, one_layer, squeeze_excite
from slimpose.cli.main import main
from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.expressions import Expression, MissingFactError, fill
from slimpose.export.hardware.graph import graph_of, read_graph
from slimpose.export.hardware.layers import Layer
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target, read_target, target_names
from slimpose.runtime.models import shipped


def _layers(model: Any, **arguments: Any) -> list[Layer]:
    """The layers without the one about the file."""
    return layers_of(graph_of(model), **arguments)[1:]


def _kinds(model: Any) -> list[str]:
    return [layer.kind for layer in _layers(model)]


def _gate(*, times: bool, divide: bool = True, product_first: bool = False) -> Any:
    """A hard sigmoid or hard swish written out."""
    sketch = Sketch().conv(8, 8)
    source = sketch.last
    sketch.node("Add", "*", sketch.constant(3.0)).node(
        "Clip", "*", sketch.constant(0.0), sketch.constant(6.0)
    )
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


def test_an_average_that_gates_nothing_is_no_block() -> None:
    sketch = Sketch().conv(8, 8).node("GlobalAveragePool").conv(4, 8).node("Sigmoid")
    assert not any(layer.block for layer in _layers(sketch.model()))


@pytest.mark.parametrize(
    ("kind", "channels", "macs"),
    [
        ("conv", 8, 3 * 3 * 8 * 8 * 16 * 16),  # weight elements times output pixels
        ("depthwise-conv", 8, 3 * 3 * 8 * 16 * 16),
        ("depthwise-conv-multiplied", 8, 3 * 3 * 16 * 14 * 14),
        (
            "deconv",
            8,
            4 * 4 * 8 * 8 * 16 * 16,
        ),  # times INPUT pixels: a stride of 2 computes no more
        ("grouped-conv", 8, 3 * 3 * 8 * 8 // 2 * 16 * 16),
    ],
)
def test_multiply_adds_are_counted_where_they_are_computed(
    kind: str, channels: int, macs: int
) -> None:
    (layer,) = _layers(one_layer(kind, shape=(1, channels, 16, 16)))
    assert (layer.kind, layer.macs) == (kind, macs)


def test_what_others_read_too_cannot_fuse() -> None:
    sketch = Sketch().conv(8, 8)
    kept = sketch.last
    model = sketch.node("Relu").node("Add", "*", kept).model()
    relu = next(layer for layer in _layers(model) if layer.kind == "relu")
    assert relu.facts["after"] == "shared conv"
    report = check_layers([relu], load_target("dpu-b1024"))
    assert [finding.rule for finding in report.verdicts[0].findings] == ["relu-after"]


def test_a_quantized_file_is_judged_as_the_net_it_stands_for() -> None:
    sketch = Sketch()
    scale = sketch.constant(0.1), sketch.constant(0, np.int8)
    sketch.node("QuantizeLinear", "*", *scale).node("DequantizeLinear", "*", *scale).conv(8, 8)
    sketch.node("QuantizeLinear", "*", *scale).node("DequantizeLinear", "*", *scale).node("Relu")
    layers = _layers(sketch.model())
    assert [layer.kind for layer in layers] == ["conv", "relu"]
    assert layers[1].facts["after"] == "conv"


def test_weights_stored_as_half_floats_behind_casts_are_constants() -> None:
    sketch = Sketch()
    weights = sketch.weights(8, 8, 1, 1)
    sketch.initializers[-1].data_type = TensorProto.FLOAT16
    sketch.initializers[-1].raw_data = bytes(2 * 64)
    sketch.node("Cast", weights, to=TensorProto.FLOAT)
    (layer,) = _layers(sketch.node("Conv", "x", "*").model())
    assert layer.kind == "conv"
    assert layer.facts["constant_weights"]


def test_a_free_batch_is_bound_and_counts() -> None:
    sketch = Sketch(("n", 8, 16, 16)).conv(8, 8)
    for batch, first in ((None, 1), (4, 4)):
        graph = graph_of(sketch.model(), batch=batch)
        assert graph.shapes["y0"] == (first, 8, 16, 16)


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
            "--shape names images; the model's inputs are x",
        ),
        (
            (1, 3, "h", "w"),
            {"shapes": {"x": (1, 3, 8)}},
            "--shape x has 3 dimensions; the model's has 4",
        ),
        (
            (1, 3, "h", 16),
            {"shapes": {"x": (1, 3, 8, 8)}},
            "dimension 3 of input 'x' is 16 in the file, not 8",
        ),
    ],
)
def test_free_dimensions_are_asked_for_by_name(
    shape: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        graph_of(Sketch(shape).conv(8, 3).model(), **arguments)


def test_free_dimensions_can_be_given() -> None:
    graph = graph_of(Sketch(("n", 3, "h", "w")).conv(8, 3).model(), shapes={"x": (2, 3, 32, 24)})
    assert graph.shapes["y0"] == (2, 8, 32, 24)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no model at all", "is not an ONNX file"),
        (b"", r"holds no layers \(is it an ONNX file\?\)"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_graph(path)


def test_a_malformed_operator_is_told_by_name() -> None:
    with pytest.raises(
        ValueError, match="DepthToSpace 'DepthToSpace_0' is not as ONNX wants it: 'blocksize'"
    ):
        _layers(Sketch().node("DepthToSpace").model())


@pytest.mark.parametrize(
    ("name", "counted", "macs", "first"),
    [
        ("mnv2", 104, 292_718_592, ["Cast", "transpose"]),  # the README's 0.293 GMAC
        ("detector", 125, 573_153_280, ["Cast", "transpose"]),  # 0.573
    ],
)
def test_our_files_tell_where_the_network_ends(
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


def test_the_end_of_a_foreign_network_can_be_told() -> None:
    sketch = Sketch().node("Abs").conv(8, 8).node("Relu", output="map").node("Exp")
    parts = [(layer.kind, layer.part) for layer in _layers(sketch.model(), until=("map",))]
    assert parts == [("Abs", "before"), ("conv", "body"), ("relu", "body"), ("Exp", "decoding")]
    assert {layer.part for layer in _layers(sketch.model())} == {"body"}
    with pytest.raises(ValueError, match="no layer computes heatmaps"):
        _layers(sketch.model(), until=("heatmaps",))


NUMBERS = st.integers(-50, 50)


@given(a=NUMBERS, b=st.integers(1, 50), c=NUMBERS)
def test_conditions_are_arithmetic(a: int, b: int, c: int) -> None:
    facts = {"a": a, "b": b, "c": c, "after": "conv"}
    for text, value in (
        ("a + b * c - 3", a + b * c - 3),
        ("ceil_div(a, b)", -(-a // b)),
        ("a // b % 7", a // b % 7),
        ("1 <= b <= 20 and a != c or not a > 4", (1 <= b <= 20 and a != c) or not a > 4),
        ("max(a, c) in (1, 2, b)", max(a, c) in (1, 2, b)),
        ("after not in ('add', 'mul') and -a < min(b, c)", -a < min(b, c)),
    ):
        assert Expression.parse(text).value(facts) == value


def test_a_condition_explains_itself() -> None:
    bank = Expression.parse("kernel * kernel * ceil_div(channels, 8) <= 2048")
    text = bank.explain({"kernel": 5, "channels": 672})
    assert text == "kernel * kernel * ceil_div(channels, 8) <= 2048: 2100 <= 2048"
    assert (
        fill("at most {2048 // (kernel * kernel) * 8} channels", {"kernel": 3})
        == "at most 1816 channels"
    )
    both = Expression.parse("channels <= 8 and kernel <= 4")
    assert both.explain({"kernel": 5, "channels": 8}) == "kernel <= 4: 5 <= 4"
    with pytest.raises(MissingFactError, match="channels"):
        bank.value({"kernel": 3})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.b",
        "open('x')",
        "[x for x in y]",
        "lambda: 1",
        "a if b else c",
        "a **",
        "max(a, *b)",
    ],
)
def test_conditions_cannot_run_code(text: str) -> None:
    with pytest.raises(ValueError, match=r"conditions are arithmetic|is no condition"):
        Expression.parse(text)


TARGET = """
title = "A chip"
[sources]
book = "the book, page 1"
[[runs]]
on = ["conv"]
source = "book"
[[limits]]
id = "kernel"
on = ["conv"]
holds = "kernel_height <= 3"
because = "small"
mend = "smaller"
source = "book"
"""


def test_a_target_of_ones_own_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TARGET)
    report = check_layers(layers_of(graph_of(one_layer("conv"))), load_target(str(file)))
    assert not report.leaving
    assert report.verdicts[1].met == (("kernel", "kernel_height <= 3: 3 <= 3", "the book, page 1"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A chip"', "", "no title"),
        (
            'source = "book"\n[[limits]]',
            'source = "film"\n[[limits]]',
            "names source 'film'; expected one of book",
        ),
        ('holds = "kernel_height <= 3"', 'holds = "exec(kernel)"', "conditions are arithmetic"),
        ('holds = "kernel_height <= 3"', "", "says no condition"),
        ('because = "small"', "", "rule 'kernel' lacks because"),
        ('because = "small"', 'because = "{small +}"', "'small \\+' is no condition"),
        (
            'mend = "smaller"',
            'mend = "smaller"\nlevel = "loud"',
            "level 'loud'; expected leaves or advice",
        ),
        ('mend = "smaller"', 'mend = "smaller"\ncolor = "red"', "unknown color"),
        (
            'on = ["conv"]\nholds',
            'on = ["depthwise_conv"]\nholds',
            "kernel is on 'depthwise_conv', no kind of layer",
        ),
        (
            'on = ["conv"]\nsource',
            'on = ["convolution"]\nsource',
            "runs is on 'convolution', no kind .* concat, conv,",
        ),
        ("[[limits]]", "[[limit]]", "unknown limit; expected"),
        ("[[limits]]", "[[limits", "is not TOML"),
    ],
)
def test_mistakes_in_a_target_file_are_told(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TARGET.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_target(file)


def test_the_targets_that_were_promised_are_there() -> None:
    chips = {f"dpu-b{size}-isa{isa}" for size in (512, 1024, 2304, 4096) for isa in (0, 1)}
    assert set(target_names()) == {
        *chips,
        "tensorrt-7",
        "tensorrt-10",
        "litert-xnnpack",
        "litert-gpu",
        "ncnn",
    }
    assert load_target("dpu-b1024").name == "dpu-b1024-isa0"


def _run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["lint", *words])
    return int(ended.value.code or 0)


@pytest.fixture
def swishing(tmp_path: Path) -> Path:
    path = tmp_path / "swish.onnx"
    sketch = Sketch().conv(8, 8, (3, 3), name="stem.weight", pads=[1] * 4)
    before = sketch.last
    onnx.save(sketch.node("Sigmoid").node("Mul", before, "*").conv(16, 8).model(), str(path))
    return path


def test_the_verb_ends_in_one_if_a_layer_leaves_and_in_zero_if_none_does(
    swishing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(str(swishing), "--target", "dpu-b1024") == 1
    told = capsys.readouterr().out
    assert "3 layers: 2 fit, 1 leave the accelerator" in told
    assert "leaves: swish, 1 layer (rule swish)" in told
    assert "mend: relu or relu6" in told
    assert "DPUCZDX8G_ISA0_B1024_MAX.prototxt" in told
    assert "stem: conv" not in told
    assert _run(str(swishing), "--target", "ncnn", "--all") == 0
    assert "fits: stem: conv [Conv], 3x3, 1x8x16x16 -> 1x8x16x16" in capsys.readouterr().out


def test_json_holds_every_layer_with_what_it_keeps_and_breaks(
    swishing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(str(swishing), "--target", "dpu-b1024", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["target"], told["fits"], told["layers_counted"], told["layers_leaving"]) == (
        "dpu-b1024-isa0",
        False,
        3,
        1,
    )
    assert told["macs"] == told["macs_on_the_accelerator"] == 3 * 3 * 8 * 8 * 256 + 8 * 16 * 256
    _, conv, swish, _ = told["layers"]
    assert (conv["name"], conv["verdict"], conv["inputs"], conv["output"]) == (
        "stem",
        "fits",
        [[1, 8, 16, 16]],
        [1, 8, 16, 16],
    )
    kept = {keep["rule"]: keep["numbers"] for keep in conv["keeps"]}
    assert kept["weight-bank"].endswith(": 9 <= 2048")
    assert (swish["operators"], swish["verdict"]) == (["Sigmoid", "Mul"], "leaves")
    assert swish["breaks"][0]["rule"] == "swish"
    assert {"why", "fix", "source", "level"} <= swish["breaks"][0].keys()


def test_what_an_unknown_operator_costs_is_the_users_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made_up.onnx"
    onnx.save(one_layer("MadeUp"), str(path))
    assert _run(str(path), "--target", "dpu-b512") == 1
    told = capsys.readouterr().out
    assert "unknown: made.up::MadeUp, 1 layer (rule not-in-the-table)" in told
    assert "say --allow made.up::MadeUp" in told
    assert _run(str(path), "--target", "dpu-b512", "--allow", "made.up::MadeUp") == 0


def test_the_whole_file_counts_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("mnv2", "--target", "dpu-b1024") == 0
    told = capsys.readouterr().out
    assert "104 layers: 104 fit" in told
    assert "not counted: 4 layers that prepare the pixels" in told
    assert _run("mnv2", "--target", "dpu-b1024", "--whole") == 1
    assert "not counted" not in capsys.readouterr().out


def test_targets_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == target_names()
    assert _run("--list", "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["dpu-b2304-isa0"]["parameters"]["channel_parallel"] == 12
    assert any("UG1414" in source for source in entries["dpu-b2304-isa0"]["sources"])


def test_a_table_has_a_row_a_target_and_a_column_a_model(
    swishing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("mnv2", str(swishing), "--table") == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == f"| target | mnv2 | {swishing} |"
    assert [row.split(" | ")[0].strip("| ") for row in rows] == target_names()
    assert "| dpu-b1024-isa0 | 104/104, 0.293/0.293, 1 | 2/3, 0.000/0.000, 2 |" in rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mnv2",), "expected one MODEL and --target NAME"),
        (("mnv2", "--target", "dpu-b3"), "no target is named 'dpu-b3'; expected one of dpu-b1024,"),
        (("mnv2", "--target", "none.toml"), "no target file none.toml"),
        (("nothing.onnx", "--target", "ncnn"), "no model nothing.onnx"),
        (
            ("nothing", "--target", "ncnn"),
            "no model is named 'nothing'; expected an ONNX file, one of detector, detector-int8, mnv2",
        ),
        (("--list", "mnv2"), "--list tells the targets"),
        (("mnv2", "--table", "--target", "ncnn"), "--table is about all targets"),
        (("mnv2", "--target", "ncnn", "--shape", "crops"), "--shape 'crops' is not INPUT=NUMBERS"),
        (
            ("mnv2", "--target", "ncnn", "--shape", "crops=1x256x192x4"),
            "dimension 3 of input 'crops' is 3 in the file",
        ),
    ],
)
def test_bad_input_to_the_verb_ends_in_one_line_and_exit_code_two(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*words) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
    assert told.err.count("\n") == 1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["movenet-lightning", "movenet-thunder", "yolox-nano"])
def test_the_peers_are_judged_layer_by_layer(name: str) -> None:
    path = Path(f"/work/shared/peers/{name}.onnx")
    if not path.is_file():
        pytest.skip("no peers beside this checkout")
    layers = layers_of(read_graph(path))
    report = check_layers(layers, load_target("dpu-b1024"))
    assert report.leaving
    assert len(report.counted) == len(layers) - 1
    assert all(verdict.findings for verdict in report.leaving)
    if name == "yolox-nano":
        assert sum(verdict.layer.kind == "swish" for verdict in report.leaving) == 104
