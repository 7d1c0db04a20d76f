"""Cost of networks: known counts, the paper's tables, and ``slimpose cost``."""

from __future__ import annotations

import json
import socket

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from run_main import run_main
from slimpose.arrays import Size
from slimpose.network.cost import Cost, cost_for_example, cost_of, cost_of_spec
from slimpose.network.detector_net import DetectorNet
from slimpose.network.family import FAMILY, detector_of, family_spec
from slimpose.network.paper_tables import ROWS, PaperRow
from slimpose.network.pose_net import PoseNet

BY_ID = {row.id: row for row in ROWS}


@pytest.mark.parametrize(
    ("layer", "shape", "params", "macs", "paper_macs"),
    [
        # 3x3 weights of 4 -> 8 channels = 288, at 5x6 output pixels of a 10x12 input with stride 2.
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (1, 4, 10, 12), 288 + 8, 288 * 30, 288 * 30),
        # Two groups: each output channel sees 2 of the 4 input channels, so half of it.
        (
            nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False),
            (1, 4, 10, 12), 144, 144 * 120, 144 * 120,
        ),
        # Depthwise: one 3x3 kernel a channel.
        (
            nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
            (1, 4, 10, 12), 36, 36 * 120, 36 * 120,
        ),
        # 4x4 weights of 4 -> 8 channels = 512, used once per pixel of the 5x6 input; output 10x12.
        (nn.ConvTranspose2d(4, 8, 4, 2, 1, bias=False), (1, 4, 5, 6), 512, 512 * 30, 512 * 120),
        # The same in two groups: (4, 8 / 2, 4, 4) weights.
        (
            nn.ConvTranspose2d(4, 8, 4, 2, 1, groups=2, bias=False),
            (1, 4, 5, 6), 256, 256 * 30, 256 * 120,
        ),
        (nn.Linear(6, 5), (1, 6), 35, 30, 30),
        # Over 7 vectors.
        (nn.Linear(6, 5), (1, 7, 6), 35, 210, 210),
        (nn.Conv1d(3, 2, 5, bias=False), (1, 3, 12), 30, 30 * 8, 30 * 8),
        # Never counted.
        (nn.BatchNorm2d(4), (1, 4, 10, 12), 8, 0, 0),
        (nn.AvgPool2d(2), (1, 4, 10, 12), 0, 0, 0),
    ],
    ids=[
        "convolution", "two groups", "depthwise", "transposed", "transposed, two groups", "linear",
        "linear, 7 vectors", "one dimension", "batch norm", "pooling",
    ],
)  # fmt: skip
def test_cost_of_single_layers(
    layer: nn.Module, shape: tuple[int, ...], params: int, macs: int, paper_macs: int
) -> None:
    assert cost_for_example(layer, torch.zeros(shape)) == Cost(
        params=params, paper_params=params, macs=macs, paper_macs=paper_macs
    )


@given(
    groups=st.integers(1, 3),
    each_in=st.integers(1, 4),
    each_out=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_papers_tool_counts_stride_2_deconvolutions_four_times(
    groups: int, each_in: int, each_out: int, height: int, width: int
) -> None:
    layer = nn.ConvTranspose2d(
        groups * each_in, groups * each_out, 4, 2, 1, groups=groups, device="meta"
    )
    cost = cost_for_example(layer, torch.empty(1, groups * each_in, height, width, device="meta"))
    assert cost.macs == groups * each_in * each_out * 16 * height * width
    assert cost.paper_macs == 4 * cost.macs


def test_shared_layer_counts_its_macs_twice_and_its_parameters_once() -> None:
    layer = nn.Linear(3, 3, bias=False)
    cost = cost_for_example(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 3))
    assert (cost.params, cost.macs) == (9, 18)


@pytest.mark.parametrize(
    ("name", "gmac", "params", "tool"),
    [
        # The paper's network; it prints 0.56 and, counting blocks twice, 12.26 M.
        ("b1", 0.556, 6_167_905, 0.56),
        ("lite1", 0.490, 3_790_401, None),  # no squeeze-and-excite
        ("mnv2", 0.293, 1_878_593, None),  # MoveNet Lightning's trunk
        ("mnv2-wide", 0.830, 5_496_673, None),  # MoveNet Thunder's, 1.75 times wider
    ],
)
def test_cost_of_named_networks_matches_the_documentation(
    name: str, gmac: float, params: int, tool: float | None
) -> None:
    cost = cost_of_spec(family_spec(name))
    assert cost.gmac == pytest.approx(gmac, abs=0.0006)
    assert cost.params == params
    if tool is not None:
        assert cost.paper_gflops == pytest.approx(tool, abs=0.01)


def test_papers_parameter_count_counts_blocks_twice() -> None:
    assert cost_of_spec(FAMILY["b1"]).paper_params == 12_268_001


@pytest.mark.parametrize("row_id", BY_ID)
def test_every_row_of_the_paper_is_reproduced_within_a_hundredth(row_id: str) -> None:
    row = BY_ID[row_id]  # the paper rounds or truncates
    assert cost_of_spec(row.spec).paper_gflops == pytest.approx(row.gflops, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "gmacs"),
    [
        ("III", (0.140, 0.232, 0.348, 0.406, 0.556, 1.250)),
        ("IV ResNet", (1.788, 1.807, 1.868, 2.085, 2.897, 3.619, 4.072, 5.426)),
        ("IV EfficientNet", (0.376, 0.556, 0.639, 0.932, 1.452, 2.276, 3.245)),
        ("VI", (1.625, 0.814, 0.609, 0.556, 0.543, 0.539)),
    ],
)
def test_true_multiply_adds_of_the_papers_rows(rows: str, gmacs: tuple[float, ...]) -> None:
    table, _, start = rows.partition(" ")
    counted = [
        cost_of_spec(row.spec).gmac
        for row in ROWS
        if row.table == table and row.row.startswith(start)
    ]
    assert counted == pytest.approx(gmacs, abs=0.001)


def test_two_levels_shorten_the_encoder() -> None:
    cost = cost_of_spec(BY_ID["V:2-levels"].spec)
    assert cost.gmac == pytest.approx(0.355, abs=0.001)
    assert cost.params == pytest.approx(1.25e6, abs=0.005e6)


def test_four_levels_have_heatmaps_of_half_the_input_size() -> None:
    assert BY_ID["V:4-levels"].spec.heatmap_size == Size(128, 96)


def test_rows_have_the_papers_accuracy_with_typing_errors_corrected() -> None:
    ap = {row.id: row.ap for row in ROWS}
    printed = [ap[f"IV:EfficientNet-B{i}"] for i in (3, 4, 5)]
    assert printed == [71.1, 71.3, 71.8]  # the paper prints 7.11, 7.13, 7.18
    one_network = ("III:256x192", "V:3-levels", "VI:40-32", "VII:none")
    assert {ap[row_id] for row_id in one_network} == {69.7}


def test_row_ids_are_unique() -> None:
    assert len(BY_ID) == len(ROWS) == 33


def test_equal_networks_in_different_tables_have_equal_printed_numbers() -> None:
    by_spec: dict[object, list[PaperRow]] = {}
    for row in ROWS:
        by_spec.setdefault(row.spec, []).append(row)
    for rows in by_spec.values():
        assert len({(row.gflops, row.ap) for row in rows}) == 1


@pytest.mark.parametrize("name", ["b1", "mnv2", "lite1", "r50"])
def test_macs_match_pytorchs_flop_counter(name: str) -> None:
    spec = family_spec(name, size=Size(128, 96))
    with torch.device("meta"):
        net = PoseNet(spec).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(torch.empty(1, *spec.size, 3, dtype=torch.uint8, device="meta"))
    assert (
        2 * cost_of_spec(spec).macs == counter.get_total_flops()
    )  # it counts multiplication and addition


def test_detector_spec_costs_the_same_as_its_network() -> None:
    spec = detector_of(family_spec("mnv2"), size=Size(64, 96))
    with torch.device("meta"):
        net = DetectorNet(spec)
    assert cost_of_spec(spec) == cost_of(net, spec.size)
    assert cost_of_spec(spec).params == sum(parameter.numel() for parameter in net.parameters())


def test_counting_does_not_change_the_module() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cost_for_example(net, torch.ones(1, 3, 8, 8))
    assert net.training
    assert all(not layer._forward_hooks for layer in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_example_without_batch_axis_is_rejected() -> None:
    with pytest.raises(
        ValueError, match=r"shape \(3, 8, 8\); expected \(1, \.\.\.\).*batch axis missing"
    ):
        cost_for_example(nn.Conv2d(3, 4, 3), torch.zeros(3, 8, 8))


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    unused_size = Size(32, 32)  # not cached by another test
    assert cost_of_spec(family_spec("lite0", size=unused_size)).params > 0


def test_verb_prints_one_network_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("cost", "b1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "b1",
        "size": "256x192",
        "params": 6_167_905,
        "gmac": 0.5561,
        "tool": 0.5646,
    }


def test_verb_accepts_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("cost", "b1", "--size", "128x96", "--json") == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["size"], cost["gmac"]) == ("128x96", 0.1399)


def test_verb_counts_the_detector_with_the_same_encoder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main("cost", "mnv2", "--detector", "--size", "64x96", "--json") == 0
    cost = json.loads(capsys.readouterr().out)
    expected = cost_of_spec(detector_of(family_spec("mnv2"), size=Size(64, 96)))
    assert (cost["name"], cost["params"]) == ("mnv2 detector", expected.params)


def test_verb_prints_every_row_of_the_paper_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("cost", "--paper", "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(entry["table"], entry["row"], entry["paper"]) for entry in entries] == [
        (row.table, row.row, row.gflops) for row in ROWS
    ]
    assert all(
        set(entry) == {"table", "row", "paper", "tool", "gmac", "params"} for entry in entries
    )


def test_verb_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("cost", "mnv2") == 0
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("mnv2", "256x192", "1,878,593", "0.293"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("b9",), "no network is named 'b9'; expected one of b0, b1"),
        (
            ("b1", "--size", "192x144"),
            "input size 192x144 is not a multiple of the encoder's stride 32",
        ),
        (("b1", "--size", "256"), "size '256' is not HEIGHTxWIDTH; expected for example 256x192"),
        (("b1", "--size", ""), "size '' is not HEIGHTxWIDTH"),
        ((), "got neither NAME nor --paper"),
        (("b1", "--paper"), "expected no NAME, --size, --detector"),
        (("--paper", "--size", "128x96"), "expected no NAME, --size, --detector"),
    ],
)
def test_invalid_arguments_end_in_one_line_and_exit_code_two(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("cost", *words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert printed.err.count("\n") == 1
