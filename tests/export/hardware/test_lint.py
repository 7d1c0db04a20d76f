"""``slimpose lint``: exit codes, text, JSON and table."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from lint_graphs import Sketch, one_layer
from run_main import run_main
from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.graph import read_graph
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target, target_names


@pytest.fixture
def swish_model(tmp_path: Path) -> Path:
    path = tmp_path / "swish.onnx"
    sketch = Sketch().conv(8, 8, (3, 3), name="stem.weight", pads=[1] * 4)
    before = sketch.last
    onnx.save(sketch.node("Sigmoid").node("Mul", before, "*").conv(16, 8).model(), str(path))
    return path


def test_the_exit_code_is_1_if_a_layer_leaves_and_otherwise_0(
    swish_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("lint", str(swish_model), "--target", "dpu-b1024") == 1
    report = capsys.readouterr().out
    assert "3 layers: 2 fit, 1 leave the accelerator" in report
    assert "leaves: swish, 1 layer (rule swish)" in report
    assert "fix: use relu or relu6" in report
    assert "DPUCZDX8G_ISA0_B1024_MAX.prototxt" in report
    assert "stem: conv" not in report
    assert run_main("lint", str(swish_model), "--target", "ncnn", "--all") == 0
    assert "fits: stem: conv [Conv], 3x3, 1x8x16x16 -> 1x8x16x16" in capsys.readouterr().out


def test_json_lists_every_layer_with_the_rules_it_keeps_and_breaks(
    swish_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("lint", str(swish_model), "--target", "dpu-b1024", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["target"], report["fits"]) == ("dpu-b1024-isa0", False)
    assert (report["layers_counted"], report["layers_leaving"]) == (3, 1)
    assert report["macs"] == report["macs_on_the_accelerator"] == 3 * 3 * 8 * 8 * 256 + 8 * 16 * 256
    _, conv, swish, _ = report["layers"]
    assert (conv["name"], conv["verdict"]) == ("stem", "fits")
    assert conv["inputs"] == [conv["output"]] == [[1, 8, 16, 16]]
    kept = {keep["rule"]: keep["numbers"] for keep in conv["keeps"]}
    assert kept["weight-bank"].endswith(": 9 <= 2048")
    assert (swish["operators"], swish["verdict"]) == (["Sigmoid", "Mul"], "leaves")
    assert swish["breaks"][0]["rule"] == "swish"
    assert {"why", "fix", "source", "level"} <= swish["breaks"][0].keys()


def test_unknown_operators_leave_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made_up.onnx"
    onnx.save(one_layer("MadeUp"), str(path))
    assert run_main("lint", str(path), "--target", "dpu-b512") == 1
    report = capsys.readouterr().out
    assert "unknown: made.up::MadeUp, 1 layer (rule not-in-the-table)" in report
    assert "pass --allow made.up::MadeUp" in report
    assert run_main("lint", str(path), "--target", "dpu-b512", "--allow", "made.up::MadeUp") == 0


def test_whole_counts_the_layers_around_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("lint", "mnv2", "--target", "dpu-b1024") == 0
    report = capsys.readouterr().out
    assert "104 layers: 104 fit" in report
    assert "not counted: 4 layers that normalize the pixels" in report
    assert run_main("lint", "mnv2", "--target", "dpu-b1024", "--whole") == 1
    assert "not counted" not in capsys.readouterr().out


def test_targets_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("lint", "--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == target_names()
    assert run_main("lint", "--list", "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["dpu-b2304-isa0"]["parameters"]["channel_parallel"] == 12
    assert any("UG1414" in source for source in entries["dpu-b2304-isa0"]["sources"])


def test_a_table_has_one_row_per_target_and_one_column_per_model(
    swish_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("lint", "mnv2", str(swish_model), "--table") == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == f"| target | mnv2 | {swish_model} |"
    assert [row.split(" | ")[0].strip("| ") for row in rows] == target_names()
    assert "| dpu-b1024-isa0 | 104/104, 0.293/0.293, 1 | 2/3, 0.000/0.000, 2 |" in rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mnv2",), "expected one MODEL and --target NAME"),
        (("mnv2", "--target", "dpu-b3"), "no target is named 'dpu-b3'; expected one of dpu-b1024,"),
        (("mnv2", "--target", "none.toml"), "no target file none.toml"),
        (("nothing.onnx", "--target", "ncnn"), "no model file nothing.onnx"),
        (
            ("nothing", "--target", "ncnn"),
            "no model is named 'nothing'; expected an ONNX file, one of detector, hr, hr-fast",
        ),
        (("--list", "mnv2"), "--list prints the targets"),
        (("mnv2", "--table", "--target", "ncnn"), "--table covers all targets"),
        (("mnv2", "--target", "ncnn", "--shape", "crops"), "--shape 'crops' is not INPUT=NUMBERS"),
        (
            ("mnv2", "--target", "ncnn", "--shape", "crops=1x256x192x4"),
            "dimension 3 of input 'crops' is 3 in the file",
        ),
    ],
)
def test_invalid_input_is_one_line_of_error_and_exit_code_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("lint", *words) == 2
    report = capsys.readouterr()
    assert message in report.err
    assert report.out == ""
    assert report.err.count("\n") == 1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["movenet-lightning", "movenet-thunder", "yolox-nano"])
def test_models_of_other_projects_are_checked_layer_by_layer(name: str) -> None:
    path = Path(f"/work/shared/peers/{name}.onnx")
    if not path.is_file():
        pytest.skip("needs the models of other projects")
    layers = layers_of(read_graph(path))
    report = check_layers(layers, load_target("dpu-b1024"))
    assert report.leaving
    assert len(report.counted) == len(layers) - 1
    assert all(verdict.findings for verdict in report.leaving)
    if name == "yolox-nano":
        assert sum(verdict.layer.kind == "swish" for verdict in report.leaving) == 104
